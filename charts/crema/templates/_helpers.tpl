{{/* The name of everything that belongs to the operator. */}}
{{- define "crema.name" -}}
{{ .Release.Name }}-operator
{{- end }}

{{/* The name of what belongs to no namespace: two releases may share their own. */}}
{{- define "crema.wideName" -}}
{{ .Release.Namespace }}-{{ .Release.Name }}-operator
{{- end }}

{{- define "crema.selector" -}}
app.kubernetes.io/name: crema-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "crema.labels" -}}
{{ include "crema.selector" . }}
app.kubernetes.io/component: operator
app.kubernetes.io/part-of: crema
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "crema.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "crema.name" .) }}
{{- else -}}
{{ required "serviceAccount.name: needed when serviceAccount.create is false" .Values.serviceAccount.name }}
{{- end -}}
{{- end }}

{{/* The labels of an object, and a user's that are none of those. Called with the root and the user's. */}}
{{- define "crema.labelsAnd" -}}
{{- $root := index . 0 -}}
{{ merge (include "crema.labels" $root | fromYaml) (index . 1 | default dict) | toYaml }}
{{- end }}

{{- define "crema.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end -}}
{{- end }}

{{/* Who every binding is for. */}}
{{- define "crema.subjects" -}}
- kind: ServiceAccount
  name: {{ include "crema.serviceAccount" . }}
  namespace: {{ .Release.Namespace }}
{{- end }}

{{/*
What the operator does where clusters are. A kind that is applied needs create and patch; what is watched, list and watch;
delete is only where something is ever deleted. Of secrets it knows the names of those it reads, so it lists none.
*/}}
{{- define "crema.rules" -}}
- apiGroups: [crema.io]
  resources: [cremaclusters]
  verbs: [get, list, watch]
- apiGroups: [crema.io]
  resources: [cremaclusters/status]
  verbs: [update]
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [apps]
  resources: [controllerrevisions]
  verbs: [list]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch, patch, delete]
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [get, list, watch, patch, delete]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, patch]
- apiGroups: [""]
  resources: [serviceaccounts]
  verbs: [get, list, create, patch]
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, create]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, create, patch, delete]
- apiGroups: [monitoring.coreos.com]
  resources: [servicemonitors]
  verbs: [get, list, create, patch, delete]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end }}
