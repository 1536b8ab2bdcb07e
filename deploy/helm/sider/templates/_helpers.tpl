{{- define "sider.labels" -}}
{{ include "sider.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "sider.selector" -}}
app.kubernetes.io/name: sider
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "sider.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (ternary .Release.Name "default" .Values.serviceAccount.create) }}
{{- end }}

{{- /* Pod Security Standard "restricted". */ -}}
{{- define "sider.podSecurity" -}}
automountServiceAccountToken: false
# Of a Service "sider-metrics" Kubernetes would make the variable SIDER_METRICS_PORT, which is a setting of ours.
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{ toJson . }}
{{- end }}
{{- end }}

{{- define "sider.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{- define "sider.mounts" -}}
volumeMounts:
  - {name: secrets, mountPath: /etc/sider, readOnly: true}
  - {name: tmp, mountPath: /tmp}
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- define "sider.volumes" -}}
volumes:
  - name: secrets
    secret: {secretName: {{ .Values.secrets.name | quote }}, defaultMode: 0440}
  - name: tmp
    emptyDir: {sizeLimit: 2Gi}
  {{- with .Values.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- define "sider.environment" -}}
envFrom:
  - configMapRef: {name: {{ .Release.Name }}}
env:
  - {name: SIDER_SECRETS_DIR, value: /etc/sider}
  - {name: SIDER_KEYRING_FILE, value: /etc/sider/keyring.json}
  - {name: SIDER_METRICS_HOST, value: 0.0.0.0}
  - {name: SIDER_METRICS_PORT, value: "9464"}
  {{- with .Values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
