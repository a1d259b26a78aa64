{{/* Weir itself, in a pod of its own or beside the service. */}}
{{- define "weir.container" -}}
name: weir
image: {{ include "weir.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- if eq .Values.mode "sidecar" }}
restartPolicy: Always   # a native sidecar: starts before the service and ends after it
{{- end }}
args: [run, --config, /etc/weir/weir.yaml]
{{- with include "weir.env" . | trim }}
env: {{- . | nindent 2 }}
{{- end }}
ports:
  - {name: http, containerPort: {{ .Values.ports.http }}}
  - {name: admin, containerPort: {{ .Values.ports.admin }}}
  - {name: probes, containerPort: {{ .Values.ports.probes }}}
startupProbe:
  httpGet: {path: /readyz, port: probes}
  periodSeconds: 1
  failureThreshold: 30
# Fails while draining, so that endpoints are taken out; not when the store or the service is lost.
readinessProbe:
  httpGet: {path: /readyz, port: probes}
  periodSeconds: 2
  failureThreshold: 2
# The loop turns: nothing else may end the container.
livenessProbe:
  httpGet: {path: /healthz, port: probes}
  periodSeconds: 10
  timeoutSeconds: 3
  failureThreshold: 3
{{- with .Values.resources }}
resources: {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
  seccompProfile: {type: RuntimeDefault}
volumeMounts:
  # A folder: a file mounted by subPath is never updated.
  - {name: weir-config, mountPath: /etc/weir, readOnly: true}
  {{- with .Values.volumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- define "weir.volumes" -}}
- name: weir-config
  configMap: {name: {{ include "weir.configMap" . }}}
{{- with .Values.volumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* What the config does not hold: secrets, and what has them in it. */}}
{{- define "weir.env" -}}
{{- $keys := .Values.admin.secretKeys }}
{{- if include "weir.isAdminOpen" . }}
- name: WEIR_ADMIN__TOKEN
  valueFrom:
    secretKeyRef: {name: {{ include "weir.secret" . }}, key: {{ $keys.token }}}
{{- end }}
{{- if eq .Values.store.kind "bundled" }}
- name: STORE_PASSWORD
  valueFrom:
    secretKeyRef: {name: {{ include "weir.secret" . }}, key: {{ $keys.password }}}
- name: WEIR_STORE__URL
  value: redis://:$(STORE_PASSWORD)@{{ include "weir.fullname" . }}-store:6379/0
{{- else if and (eq .Values.store.kind "external") .Values.store.urlFromSecret }}
- name: WEIR_STORE__URL
  valueFrom:
    secretKeyRef: {name: {{ include "weir.secret" . }}, key: {{ $keys.url }}}
{{- else if eq .Values.store.kind "external" }}
- name: WEIR_STORE__URL
  value: {{ required "store.url is required where store.kind is external" .Values.store.url | quote }}
{{- end }}
{{- with .Values.env }}
{{ toYaml . }}
{{- end }}
{{- end }}
