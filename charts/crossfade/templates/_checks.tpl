{{/* What no schema can say. Renders nothing; fails with the value's name, what is wrong, and what to do. */}}
{{- define "crossfade.check" -}}
{{- $grace := include "crossfade.seconds" (.Values.config.CROSSFADE_DRAIN_GRACE | default "25s") | int -}}
{{- $settle := include "crossfade.seconds" (.Values.config.CROSSFADE_DRAIN_SETTLE | default "2s") | int -}}
{{- $pod := int .Values.drain.terminationGracePeriodSeconds -}}
{{- if ge $settle $grace -}}
{{- fail (printf "config.CROSSFADE_DRAIN_SETTLE (%ds) leaves nothing of config.CROSSFADE_DRAIN_GRACE (%ds) to end sessions in: settle 2s of 25s is the default" $settle $grace) -}}
{{- end -}}
{{- if lt $pod (add $grace 10 | int) -}}
{{- fail (printf "drain.terminationGracePeriodSeconds is %d, but config.CROSSFADE_DRAIN_GRACE (%ds) + 10 s for the last flush need %d: Kubernetes would kill the drain" $pod $grace (add $grace 10)) -}}
{{- end -}}
{{- if and (ne .Values.mode "injector") (not .Values.config.CROSSFADE_UPSTREAM) -}}
{{- fail "config.CROSSFADE_UPSTREAM is required: the URL of your service, such as ws://chat:3000 (gateway) or ws://127.0.0.1:3000 (sidecar)" -}}
{{- end -}}
{{- if and (include "crossfade.native" .) .Values.drain.preStop (not (hasKey .Values.secrets "CROSSFADE_ADMIN_TOKEN")) -}}
{{- fail "secrets.CROSSFADE_ADMIN_TOKEN is required: a native sidecar is drained by preStop, which must present it, such as { name: crossfade, key: admin-token }; or set drain.preStop to false and accept that sessions end with the service" -}}
{{- end -}}
{{- if and (ne .Values.mode "gateway") (eq .Values.sidecar.intercept "redirect") -}}
{{- if not .Values.sidecar.redirect.image -}}
{{- fail "sidecar.redirect.image is required for redirect: an image that has sh, iptables and ip6tables; or use sidecar.intercept: targetPort, which needs no privilege" -}}
{{- end -}}
{{- if not .Values.sidecar.redirect.ports -}}
{{- fail "sidecar.redirect.ports is empty: name the service's ports, such as [3000]" -}}
{{- end -}}
{{- range .Values.sidecar.redirect.ports -}}
{{- if eq (int .) (include "crossfade.port" (dict "context" $ "name" "CROSSFADE_LISTEN" "default" "8080") | int) -}}
{{- fail (printf "sidecar.redirect.ports has %d, which is the sidecar's own port" (int .)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and (hasKey .Values.secrets "SUPABASE_KEY") (hasKey .Values.secrets "SUPABASE_SERVICE_ROLE_KEY") -}}
{{- fail "secrets.SUPABASE_SERVICE_ROLE_KEY is only read when SUPABASE_KEY is not set: give one of them" -}}
{{- end -}}
{{- if and .Values.config.SUPABASE_URL (not (or (hasKey .Values.secrets "SUPABASE_KEY") (hasKey .Values.secrets "SUPABASE_SERVICE_ROLE_KEY"))) -}}
{{- fail "secrets.SUPABASE_KEY is required where config.SUPABASE_URL is set, such as { name: supabase, key: service-role-key }" -}}
{{- end -}}
{{- if and .Values.emergency.configMap (hasKey .Values.config "CROSSFADE_EMERGENCY_FILE") -}}
{{- fail "config.CROSSFADE_EMERGENCY_FILE and emergency.configMap are the same switch: give one of them" -}}
{{- end -}}
{{- if ne .Values.spool.type "none" -}}
{{- $max := include "crossfade.text" (.Values.config.CROSSFADE_SPOOL_MAX | default "256MiB") -}}
{{- if gt (include "crossfade.bytes" $max | int64) (include "crossfade.bytes" .Values.spool.size | int64) -}}
{{- fail (printf "config.CROSSFADE_SPOOL_MAX (%s) is over spool.size (%s): the volume would be full, and an emptyDir over its limit takes the whole pod with it" $max .Values.spool.size) -}}
{{- end -}}
{{- end -}}
{{- range $name := list "spool" "state" -}}
{{- $disk := get $.Values $name -}}
{{- if and (eq $.Values.mode "gateway") (eq $disk.type "claim") (or $.Values.autoscaling.enabled (gt (int $.Values.replicas) 1)) -}}
{{- fail (printf "%s.type claim is one pod's disk: set replicas to 1 and autoscaling.enabled to false, or use emptyDir" $name) -}}
{{- end -}}
{{- if and (ne $.Values.mode "gateway") (eq $disk.type "claim") (not $disk.claimName) -}}
{{- fail (printf "%s.claimName is required for %s.type claim beside a service: the claim belongs to your workload" $name $name) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.redis.url.name (hasKey .Values.secrets "CROSSFADE_REDIS_URL") -}}
{{- fail "secrets.CROSSFADE_REDIS_URL and redis.url are the same setting: give one of them" -}}
{{- end -}}
{{- if ne (empty .Values.redis.url.name) (empty .Values.redis.url.key) -}}
{{- fail "redis.url needs both name and key of a Secret, such as { name: redis, key: url }" -}}
{{- end -}}
{{- if and (eq .Values.mode "gateway") .Values.autoscaling.enabled (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) -}}
{{- fail (printf "autoscaling.minReplicas (%d) is over maxReplicas (%d)" (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) -}}
{{- end -}}
{{- end -}}
