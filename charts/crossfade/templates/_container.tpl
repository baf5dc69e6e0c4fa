{{/* The container, its init containers and its volumes: for the gateway, for the injector, and for your own chart. */}}

{{- define "crossfade.env" -}}
{{- if not (hasKey .Values.config "CROSSFADE_POD") }}
- name: CROSSFADE_POD
  valueFrom: { fieldRef: { apiVersion: v1, fieldPath: metadata.name } }
{{- end }}
{{- range $name, $value := .Values.config }}
- name: {{ $name }}
  value: {{ include "crossfade.text" $value | quote }}
{{- end }}
{{- range $name, $_ := include "crossfade.secrets" . | fromYaml }}
- name: {{ $name }}_FILE
  value: /run/secrets/crossfade/{{ $name }}
{{- end }}
{{- if and (eq .Values.mode "gateway") (not (hasKey .Values.config "CROSSFADE_PODS")) }}
- name: CROSSFADE_PODS
  value: {{ include "crossfade.pods" . | quote }}
{{- end }}
{{- if .Values.emergency.configMap }}
- name: CROSSFADE_EMERGENCY_FILE
  value: /etc/crossfade/emergency/off
{{- end }}
{{- if .Values.flags.configMap }}
- name: CROSSFADE_FLAGS_FILE
  value: /etc/crossfade/flags/{{ .Values.flags.key }}
{{- end }}
{{- if .Values.tuning.configMap }}
- name: CROSSFADE_TUNING
  value: /etc/crossfade/tuning/{{ .Values.tuning.key }}
{{- end }}
{{- if ne .Values.spool.type "none" }}
- name: CROSSFADE_SPOOL_DIR
  value: /var/spool/crossfade
{{- end }}
{{- if ne .Values.state.type "none" }}
- name: CROSSFADE_STATE_DIR
  value: /var/lib/crossfade
{{- end }}
{{- end -}}

{{- define "crossfade.securityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
readOnlyRootFilesystem: true
allowPrivilegeEscalation: false
capabilities: { drop: [ALL] }
seccompProfile: { type: RuntimeDefault }
{{- end -}}

{{/* The container as one list item. */}}
{{- define "crossfade.container" -}}
{{- include "crossfade.check" . -}}
{{- $native := include "crossfade.native" . -}}
- name: crossfade
  image: {{ include "crossfade.image" . | quote }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- if $native }}
  restartPolicy: Always
{{- end }}
  env:
    {{- include "crossfade.env" . | trim | nindent 4 }}
  ports:
    - name: crossfade
      containerPort: {{ include "crossfade.port" (dict "context" . "name" "CROSSFADE_LISTEN" "default" "8080") }}
      protocol: TCP
    - name: cf-metrics
      containerPort: {{ include "crossfade.port" (dict "context" . "name" "CROSSFADE_METRICS_LISTEN" "default" "9464") }}
      protocol: TCP
  # Started means alive, not ready: ready needs the service, which a native sidecar precedes.
  startupProbe: { httpGet: { path: /healthz, port: cf-metrics }, periodSeconds: 1, failureThreshold: 30 }
  readinessProbe: { httpGet: { path: /readyz, port: cf-metrics }, periodSeconds: 2, failureThreshold: 2 }
  livenessProbe: { httpGet: { path: /healthz, port: cf-metrics }, periodSeconds: 10, timeoutSeconds: 5, failureThreshold: 3 }
{{- if and $native .Values.drain.preStop }}
  lifecycle: { preStop: { exec: { command: [/crossfade, drain] } } }
{{- end }}
  resources:
    {{- toYaml .Values.resources | nindent 4 }}
  securityContext:
    {{- include "crossfade.securityContext" . | nindent 4 }}
{{- with include "crossfade.volumeMounts" . | trim }}
  volumeMounts:
    {{- . | nindent 4 }}
{{- end }}
{{- end -}}

{{/* Folders, not single files (subPath): the kubelet brings a change of a ConfigMap into folders alone. */}}
{{- define "crossfade.volumeMounts" -}}
{{- if include "crossfade.secrets" . | fromYaml }}
- { name: crossfade-secrets, mountPath: /run/secrets/crossfade, readOnly: true }
{{- end }}
{{- range $name := list "emergency" "flags" "tuning" }}
{{- if (get $.Values $name).configMap }}
- { name: crossfade-{{ $name }}, mountPath: /etc/crossfade/{{ $name }}, readOnly: true }
{{- end }}
{{- end }}
{{- if ne .Values.spool.type "none" }}
- { name: crossfade-spool, mountPath: /var/spool/crossfade }
{{- end }}
{{- if ne .Values.state.type "none" }}
- { name: crossfade-state, mountPath: /var/lib/crossfade }
{{- end }}
{{- end -}}

{{/* Redirects the service's inbound ports to the sidecar. Loopback does not pass PREROUTING, so the sidecar itself
     reaches the service without an exemption. */}}
{{- define "crossfade.redirectContainer" -}}
- name: crossfade-redirect
  image: {{ .Values.sidecar.redirect.image | quote }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  command: [/bin/sh, -euc]
  args:
    - {{ .Files.Get "files/redirect.sh" | toJson }}
  env:
    - name: REDIRECT_FROM
      value: "{{ range $i, $port := .Values.sidecar.redirect.ports }}{{ if $i }},{{ end }}{{ int $port }}{{ end }}"
    - name: REDIRECT_TO
      value: {{ include "crossfade.port" (dict "context" . "name" "CROSSFADE_LISTEN" "default" "8080") | quote }}
    # The root is read-only; /dev/shm is always there.
    - name: XTABLES_LOCKFILE
      value: /dev/shm/xtables.lock
  resources:
    requests: { cpu: 10m, memory: 16Mi }
    limits: { memory: 64Mi }
  # The one privileged moment of this way; targetPort does without.
  securityContext:
    runAsNonRoot: false
    runAsUser: 0
    readOnlyRootFilesystem: true
    allowPrivilegeEscalation: false
    capabilities: { drop: [ALL], add: [NET_ADMIN, NET_RAW] }
    seccompProfile: { type: RuntimeDefault }
{{- end -}}

{{/* For spec.initContainers, before your own; may be empty. */}}
{{- define "crossfade.initContainers" -}}
{{- include "crossfade.check" . -}}
{{- if eq .Values.sidecar.intercept "redirect" }}
{{ include "crossfade.redirectContainer" . }}
{{- end }}
{{- if include "crossfade.native" . }}
{{ include "crossfade.container" . }}
{{- end }}
{{- end -}}

{{/* For spec.containers, after your own; empty where the sidecar is native. */}}
{{- define "crossfade.containers" -}}
{{- if not (include "crossfade.native" .) -}}
{{- include "crossfade.container" . -}}
{{- end -}}
{{- end -}}

{{/* For spec.volumes; may be empty. */}}
{{- define "crossfade.volumes" -}}
{{- $secrets := include "crossfade.secrets" . | fromYaml }}
{{- if $secrets }}
- name: crossfade-secrets
  projected:
    # Readable for all users, because the container is not root; mounted into the sidecar only.
    defaultMode: 0444
    sources:
{{- range $name, $ref := $secrets }}
      - secret: { name: {{ $ref.name | quote }}, items: [{ key: {{ $ref.key | quote }}, path: {{ $name }} }] }
{{- end }}
{{- end }}
{{- with .Values.emergency.configMap }}
- name: crossfade-emergency
  configMap: { name: {{ . | quote }}, optional: true }
{{- end }}
{{- with .Values.flags }}
{{- if .configMap }}
# Without it nobody is on Realtime; that must not keep a pod from starting.
- name: crossfade-flags
  configMap: { name: {{ .configMap | quote }}, optional: true, items: [{ key: {{ .key | quote }}, path: {{ .key | quote }} }] }
{{- end }}
{{- end }}
{{- with .Values.tuning }}
{{- if .configMap }}
- name: crossfade-tuning
  configMap: { name: {{ .configMap | quote }}, items: [{ key: {{ .key | quote }}, path: {{ .key | quote }} }] }
{{- end }}
{{- end }}
{{- range $name := list "spool" "state" }}
{{- with get $.Values $name }}
{{- if eq .type "emptyDir" }}
- name: crossfade-{{ $name }}
  emptyDir: { sizeLimit: {{ .size | quote }} }
{{- else if eq .type "claim" }}
- name: crossfade-{{ $name }}
  persistentVolumeClaim: { claimName: {{ default (printf "%s-%s" (include "crossfade.fullname" $) $name) .claimName | quote }} }
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* For spec.terminationGracePeriodSeconds. */}}
{{- define "crossfade.terminationGracePeriodSeconds" -}}
{{- include "crossfade.check" . -}}
{{- int .Values.drain.terminationGracePeriodSeconds -}}
{{- end -}}

{{/* Labels that the monitors of this chart look for. */}}
{{- define "crossfade.podLabels" -}}
crossfade.dev/sidecar: "true"
{{- end -}}
