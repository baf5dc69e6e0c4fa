{{/* Names, labels and small arithmetic. Every template takes this chart's context: `.`, or `.Subcharts.crossfade`. */}}

{{- define "crossfade.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default "crossfade" .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}{{ .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else -}}{{ printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" }}{{- end -}}
{{- end -}}
{{- end -}}

{{- define "crossfade.selectorLabels" -}}
app.kubernetes.io/name: {{ default "crossfade" .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: {{ .Values.mode }}
{{- end -}}

{{- define "crossfade.labels" -}}
{{ include "crossfade.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "crossfade.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}{{ .repository }}@{{ .digest }}{{- else -}}{{ .repository }}:{{ default $.Chart.AppVersion .tag }}{{- end -}}
{{- end -}}
{{- end -}}

{{/* A setting as text: YAML's numbers arrive as floats and would print as 1e+06. */}}
{{- define "crossfade.text" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) -}}{{ int64 . }}{{- else -}}{{ . }}{{- end -}}
{{- end -}}

{{/* The port of an address setting: (dict "context" . "name" NAME "default" PORT). */}}
{{- define "crossfade.port" -}}
{{- $address := get .context.Values.config .name | default "" -}}
{{- if $address -}}{{ regexFind "[0-9]+$" $address }}{{- else -}}{{ .default }}{{- end -}}
{{- end -}}

{{/* The port of CROSSFADE_UPSTREAM. */}}
{{- define "crossfade.upstreamPort" -}}
{{- $url := .Values.config.CROSSFADE_UPSTREAM | default "ws://127.0.0.1" -}}
{{- $port := regexFind ":[0-9]+(/|$)" $url | trimPrefix ":" | trimSuffix "/" -}}
{{- if $port -}}{{ $port }}{{- else if regexMatch "^(wss|https):" $url -}}443{{- else -}}80{{- end -}}
{{- end -}}

{{/* Every reference to a secret: those of `secrets`, and the URL of Redis. */}}
{{- define "crossfade.secrets" -}}
{{- $all := deepCopy .Values.secrets -}}
{{- if .Values.redis.url.name -}}{{- $_ := set $all "CROSSFADE_REDIS_URL" .Values.redis.url -}}{{- end -}}
{{- toYaml $all -}}
{{- end -}}

{{/* How many pods share the plan, at most. With Redis they count each other, from this number upwards, so that the
     least is right there. */}}
{{- define "crossfade.pods" -}}
{{- $most := int .Values.replicas -}}
{{- if .Values.autoscaling.enabled -}}
{{- $most = int (ternary .Values.autoscaling.minReplicas .Values.autoscaling.maxReplicas (hasKey (include "crossfade.secrets" . | fromYaml) "CROSSFADE_REDIS_URL")) -}}
{{- end -}}
{{- max 1 $most -}}
{{- end -}}

{{/* A duration such as "1m 30s" in whole seconds, rounded up. */}}
{{- define "crossfade.seconds" -}}
{{- $ms := 0 -}}
{{- $units := dict "ms" 1 "s" 1000 "sec" 1000 "m" 60000 "min" 60000 "h" 3600000 -}}
{{- range regexFindAll "[0-9]+ *(ms|sec|s|min|m|h)" (toString .) -1 -}}
{{- $ms = add $ms (mul (regexFind "[0-9]+" . | int64) (get $units (regexFind "[a-z]+" .))) -}}
{{- end -}}
{{- div (add $ms 999) 1000 -}}
{{- end -}}

{{/* A size in bytes, of the program (256MiB) or of Kubernetes (1.5Gi). */}}
{{- define "crossfade.bytes" -}}
{{- $units := dict "B" 1 "KiB" 1024 "MiB" 1048576 "GiB" 1073741824 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 "k" 1000 "M" 1000000 "G" 1000000000 "T" 1000000000000 -}}
{{- $unit := regexFind "[A-Za-z]+$" . -}}
{{- mulf (regexFind "^[0-9]+(\\.[0-9]+)?" . | float64) (ternary (get $units $unit) 1 (ne $unit "")) | int64 -}}
{{- end -}}

{{/* "true" where the sidecar is a native one. */}}
{{- define "crossfade.native" -}}
{{- $known := semverCompare ">=1.29.0-0" .Capabilities.KubeVersion.Version -}}
{{- if eq .Values.mode "gateway" -}}
{{- else if or (eq .Values.sidecar.native "always") (and (eq .Values.sidecar.native "auto") $known) -}}true{{- end -}}
{{- end -}}

{{/* "true" where a kind of the Prometheus operator is wanted: (dict "context" . "enabled" VALUE). */}}
{{- define "crossfade.operator" -}}
{{- if eq .enabled "always" -}}true
{{- else if and (eq .enabled "auto") (.context.Capabilities.APIVersions.Has "monitoring.coreos.com/v1") -}}true{{- end -}}
{{- end -}}
