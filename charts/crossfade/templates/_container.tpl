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
{{- range $name, $_ := .Values.secrets }}
- name: {{ $name }}_FILE
  value: /run/secrets/crossfade/{{ $name }}
{{- end }}
{{- if .Values.emergency.configMap }}
- name: CROSSFADE_EMERGENCY_FILE
  value: /etc/crossfade/emergency/off
{{- end }}
{{- if ne .Values.spool.type "none" }}
- name: CROSSFADE_SPOOL_DIR
  value: /var/spool/crossfade
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
{{- if or .Values.secrets .Values.emergency.configMap (ne .Values.spool.type "none") }}
  volumeMounts:
{{- if .Values.secrets }}
    - { name: crossfade-secrets, mountPath: /run/secrets/crossfade, readOnly: true }
{{- end }}
{{- if .Values.emergency.configMap }}
    - { name: crossfade-emergency, mountPath: /etc/crossfade/emergency, readOnly: true }
{{- end }}
{{- if ne .Values.spool.type "none" }}
    - { name: crossfade-spool, mountPath: /var/spool/crossfade }
{{- end }}
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
{{- if .Values.secrets }}
- name: crossfade-secrets
  projected:
    # Readable for all users, because the container is not root; mounted into the sidecar only.
    defaultMode: 0444
    sources:
{{- range $name, $ref := .Values.secrets }}
      - secret: { name: {{ $ref.name | quote }}, items: [{ key: {{ $ref.key | quote }}, path: {{ $name }} }] }
{{- end }}
{{- end }}
{{- with .Values.emergency.configMap }}
- name: crossfade-emergency
  configMap: { name: {{ . | quote }}, optional: true }
{{- end }}
{{- if eq .Values.spool.type "emptyDir" }}
- name: crossfade-spool
  emptyDir: { sizeLimit: {{ .Values.spool.size | quote }} }
{{- else if eq .Values.spool.type "claim" }}
- name: crossfade-spool
  persistentVolumeClaim: { claimName: {{ default (printf "%s-spool" (include "crossfade.fullname" .)) .Values.spool.claimName | quote }} }
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
