{{- define "weir.fullname" -}}
{{- contains .Chart.Name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name .Chart.Name) | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "weir.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "weir.labels" -}}
{{ include "weir.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* Of the pods that Weir is in: its own, or those of the service. */}}
{{- define "weir.podSelector" -}}
{{- if eq .Values.mode "gateway" }}{{ include "weir.selector" . }}{{ else }}{{ toYaml .Values.sidecar.podLabels }}{{ end }}
{{- end }}

{{- define "weir.storeSelector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}-store
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "weir.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}{{ .Values.serviceAccount.name | default (include "weir.fullname" .) }}{{ else }}{{ .Values.serviceAccount.name | default "default" }}{{ end }}
{{- end }}

{{- define "weir.configMap" -}}
{{ .Values.existingConfigMap | default (include "weir.fullname" .) }}
{{- end }}

{{- define "weir.secret" -}}
{{ .Values.admin.existingSecret | default (include "weir.fullname" .) }}
{{- end }}

{{- define "weir.image" -}}
{{ .Values.image.repository }}{{ if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{/* A value that is kept: the one given, the one in the cluster, or a new one. Arguments: root, key, given. */}}
{{- define "weir.kept" -}}
{{- $there := lookup "v1" "Secret" .root.Release.Namespace (include "weir.fullname" .root) -}}
{{- if .given }}{{ .given | b64enc }}{{ else if and $there (hasKey (default dict $there.data) .key) }}{{ index $there.data .key }}{{ else }}{{ randAlphaNum 40 | sha256sum | trunc 32 | b64enc }}{{ end }}
{{- end }}

{{/* Whether the admin plane is open beyond the pod. A sidecar's is only where something scrapes it. */}}
{{- define "weir.isAdminOpen" -}}
{{- if or (eq .Values.mode "gateway") .Values.podMonitor.enabled }}yes{{ end }}
{{- end }}
