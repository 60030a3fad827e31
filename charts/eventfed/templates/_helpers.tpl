{{- define "eventfed.name" -}}
{{- if contains "eventfed" .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-eventfed" .Release.Name | trunc 40 | trimSuffix "-" }}{{ end -}}
{{- end }}

{{- define "eventfed.operator" -}}{{ include "eventfed.name" . }}-operator{{- end }}
{{- define "eventfed.nats" -}}{{ include "eventfed.name" . }}-nats{{- end }}

{{- define "eventfed.natsSecret" -}}
{{- default (include "eventfed.nats" .) .Values.nats.existingSecret -}}
{{- end }}

{{- define "eventfed.image" -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end }}

{{- define "eventfed.labels" -}}
app.kubernetes.io/part-of: eventfed
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "eventfed.operatorSelector" -}}
app.kubernetes.io/name: eventfed-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "eventfed.natsSelector" -}}
app.kubernetes.io/name: eventfed-nats
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "eventfed.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "eventfed.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "eventfed.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end }}

{{- define "eventfed.placement" -}}
{{- with .nodeSelector }}
nodeSelector: {{ toJson . }}
{{- end }}
{{- with .tolerations }}
tolerations: {{ toJson . }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}
