{{- define "eventfed.name" -}}
{{- $own := default "eventfed" .Values.nameOverride -}}
{{- $release := contains $own .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $own) -}}
{{- default $release .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{- define "eventfed.operator" -}}{{ include "eventfed.name" . }}-operator{{- end }}
{{- define "eventfed.nats" -}}{{ include "eventfed.name" . }}-nats{{- end }}

{{- define "eventfed.natsSecret" -}}
{{- default (include "eventfed.nats" .) .Values.nats.existingSecret -}}
{{- end }}

{{- define "eventfed.image" -}}
{{- with .Values.image -}}
{{- with .registry }}{{ . }}/{{ end }}{{ .repository -}}
{{- if or .tag (not .digest) }}:{{ default $.Chart.AppVersion .tag }}{{ end -}}
{{- with .digest }}@{{ . }}{{ end -}}
{{- end -}}
{{- end }}

{{- define "eventfed.labels" -}}
app.kubernetes.io/part-of: eventfed
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- /* metadata of an object: (dict "root" $ "name" ...), with labels and annotations where there are more.
       It has the release's namespace, or "namespace"; with "cluster" none. */ -}}
{{- define "eventfed.metadata" -}}
name: {{ .name }}
{{- if not .cluster }}
namespace: {{ default .root.Release.Namespace .namespace }}
{{- end }}
labels: {{- merge (include "eventfed.labels" .root | fromYaml) (default dict .labels) .root.Values.commonLabels | toYaml | nindent 2 }}
{{- with merge (dict) (default dict .annotations) .root.Values.commonAnnotations }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* metadata of a pod: (dict "root" $ "selector" labels "values" those of the component "annotations" ours). */ -}}
{{- define "eventfed.podMetadata" -}}
labels: {{- merge (fromYaml .selector) (default dict .values.podLabels) .root.Values.commonLabels | toYaml | nindent 2 }}
{{- with merge (dict) (default dict .annotations) (default dict .values.podAnnotations) .root.Values.commonAnnotations }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
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
{{- $given := deepCopy .Values.podSecurityContext -}}
{{- if .Values.openshift }}{{ $given = omit $given "runAsUser" "runAsGroup" "fsGroup" "supplementalGroups" }}{{ end -}}
{{- toYaml $given -}}
{{- end }}

{{- define "eventfed.containerSecurity" -}}
{{- $given := deepCopy .Values.containerSecurityContext -}}
{{- if .Values.openshift }}{{ $given = omit $given "runAsUser" "runAsGroup" }}{{ end -}}
{{- toYaml $given -}}
{{- end }}

{{- define "eventfed.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Where pods go: (dict "root" $ "values" those of the component "selector" labels). */ -}}
{{- define "eventfed.placement" -}}
{{- with .values.nodeSelector }}
nodeSelector: {{ toJson . }}
{{- end }}
{{- with .values.tolerations }}
tolerations: {{ toJson . }}
{{- end }}
{{- with .values.affinity }}
affinity: {{ toJson . }}
{{- end }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
topologySpreadConstraints:
{{- with .values.topologySpreadConstraints }}
  {{- toYaml . | nindent 2 }}
{{- else }}
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- .selector | nindent 8 }}
{{- end }}
{{- end }}

{{- /* What agents have by default, as JSON for the operator: the fields of spec.agent.podTemplate, and two more. */ -}}
{{- define "eventfed.agentPodTemplate" -}}
{{- $template := deepCopy .Values.agents -}}
{{- $_ := set $template "labels" (merge (dict) .Values.agents.labels .Values.commonLabels) -}}
{{- $_ := set $template "annotations" (merge (dict) .Values.agents.annotations .Values.commonAnnotations) -}}
{{- $_ := set $template "securityContext" (include "eventfed.podSecurity" . | fromYaml) -}}
{{- $_ := set $template "containerSecurityContext" (include "eventfed.containerSecurity" . | fromYaml) -}}
{{- $filled := dict -}}
{{- range $name, $value := $template }}{{ if $value }}{{ $_ := set $filled $name $value }}{{ end }}{{ end -}}
{{- toJson $filled -}}
{{- end }}
