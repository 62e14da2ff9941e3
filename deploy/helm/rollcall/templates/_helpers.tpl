{{/* The three services: the key of their values and what their objects are called. */}}
{{- define "rollcall.services" -}}
gateway: gateway
presenceState: presence-state
reaper: reaper
{{- end }}

{{- define "rollcall.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "rollcall.fullname" -}}
{{- $whole := printf "%s-%s" .Release.Name (include "rollcall.name" .) }}
{{- if contains (include "rollcall.name" .) .Release.Name }}{{ $whole = .Release.Name }}{{ end }}
{{- default $whole .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* What chooses pods; it never changes within a release. Takes (dict "root" $ "name" NAME). Quoted, here and for every other
name of the user's: YAML reads 123 as a number, and Kubernetes takes texts only. */}}
{{- define "rollcall.selector" -}}
app.kubernetes.io/name: {{ include "rollcall.name" .root | quote }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
{{- with .name }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end }}

{{- define "rollcall.labels" -}}
{{ include "rollcall.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: rollcall
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "rollcall.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{ default (include "rollcall.fullname" .) .Values.serviceAccount.name }}
{{- else -}}
{{ default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "rollcall.image" -}}
{{- $image := .service.image -}}
{{- $all := .root.Values.image -}}
{{ default $all.registry $image.registry }}/{{ $image.repository }}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ coalesce $image.tag $all.tag .root.Chart.AppVersion }}{{ end }}
{{- end }}

{{- define "rollcall.port" -}}
{{ get (dict "gateway" 3000 "presenceState" 3101 "reaper" 3102) .key }}
{{- end }}

{{/* The port of a URL, written or usual. */}}
{{- define "rollcall.portOf" -}}
{{- $written := regexFind "^:[0-9]+" (regexReplaceAll "^https?://(\\[[^]]*\\]|[^:/]*)" . "") | trimPrefix ":" }}
{{- default (hasPrefix "https:" . | ternary "443" "80") $written }}
{{- end }}

{{/* The variables of a service that are no secret, as YAML. Numbers go through int64: large ones would be written 8.64e+07. */}}
{{- define "rollcall.config" -}}
{{- $values := .root.Values -}}
HOST: {{ $values.config.host | quote }}
RUST_LOG: {{ $values.config.logFilter | quote }}
LOG_FORMAT: {{ $values.config.logFormat | quote }}
DEPLOYMENT_ENVIRONMENT: {{ $values.config.environment | quote }}
HEARTBEAT_SAMPLE_RATIO: {{ $values.config.heartbeatSampleRatio | quote }}
REDIS_KEY_PREFIX: {{ $values.redis.keyPrefix | quote }}
{{- with $values.otlp.endpoint }}
OTEL_EXPORTER_OTLP_ENDPOINT: {{ . | quote }}
{{- end }}
{{- if $values.authorities.configMap.name }}
SSL_CERT_FILE: /run/rollcall/authorities/pem
{{- end }}
{{- if eq .key "gateway" }}
PORT: {{ include "rollcall.port" . | quote }}
{{ include "rollcall.authConfig" .root }}
METADATA_OUTSIDERS: {{ .service.metadataOutsiders | quote }}
SOCKET_IO_PATH: {{ $values.ingress.path | quote }}
CORS_ORIGINS: {{ .service.corsOrigins | quote }}
TRUSTED_PROXIES: {{ .service.trustedProxies | quote }}
MAX_SESSIONS: {{ .service.maxSessions | int64 | quote }}
ADDRESS_HANDSHAKES_PER_S: {{ .service.addressHandshakesPerS | int64 | quote }}
PRESENCE_LIVENESS: {{ .service.liveness | quote }}
PRESENCE_TTL_MS: {{ $values.config.presenceTtlMs | int64 | quote }}
PING_INTERVAL_MS: {{ .service.pingIntervalMs | int64 | quote }}
PING_TIMEOUT_MS: {{ .service.pingTimeoutMs | int64 | quote }}
SOCKET_EVENTS_PER_S: {{ .service.socketEventsPerS | int64 | quote }}
SOCKET_BYTES_PER_S: {{ .service.socketBytesPerS | int64 | quote }}
CHANNEL_WRITES_PER_S: {{ .service.channelWritesPerS | int64 | quote }}
OUTWARD_BYTES: {{ if kindIs "string" .service.outwardBytes }}{{ .service.outwardBytes | quote }}{{ else }}{{ .service.outwardBytes | int64 | quote }}{{ end }}
DRAIN_MS: {{ .service.drainMs | int64 | quote }}
PLAYGROUND: {{ .service.playground | quote }}
PLAYGROUND_TRACES: {{ .service.playgroundTraces | quote }}
{{- else }}
ADMIN_PORT: {{ include "rollcall.port" . | quote }}
{{- end }}
{{- if eq .key "presenceState" }}
METADATA_TTL_MS: {{ .service.metadataTtlMs | int64 | quote }}
{{- end }}
{{- if eq .key "reaper" }}
PRESENCE_REAPER_INTERVAL_MS: {{ .service.intervalMs | int64 | quote }}
{{- end }}
{{- end }}

{{/* YAML reads off without quotes as false. */}}
{{- define "rollcall.authMode" -}}
{{ kindIs "bool" .Values.auth.mode | ternary "off" .Values.auth.mode }}
{{- end }}

{{/* The Secret that is mounted with keys, if any: its name and key. */}}
{{- define "rollcall.authSecret" -}}
{{- with .Values.auth }}
{{- if .keysSecret.name }}{{ toYaml .keysSecret }}{{ else if .hmacSecret.name }}{{ toYaml .hmacSecret }}{{ end }}
{{- end }}
{{- end }}

{{/* The gateways' variables about tokens. The file is the only one in the volume "auth". */}}
{{- define "rollcall.authConfig" -}}
{{- $file := "/run/rollcall/auth/keys" -}}
{{- with .Values.auth -}}
AUTH: {{ include "rollcall.authMode" $ | quote }}
JWT_KEYS_FILE: {{ empty .keysSecret.name | ternary "" $file | quote }}
JWT_JWKS_URL: {{ .jwksUrl | quote }}
JWT_SECRET_FILE: {{ empty .hmacSecret.name | ternary "" $file | quote }}
JWT_ISSUER: {{ .issuer | quote }}
JWT_AUDIENCE: {{ .audience | quote }}
JWT_MAX_AGE_S: {{ .maxAgeS | int64 | quote }}
JWT_DEFAULT_ROOMS: {{ empty .defaultRooms | ternary "" (toJson .defaultRooms) | quote }}
{{- end }}
{{- end }}

{{/* Seconds between the order to stop and the end by force. */}}
{{- define "rollcall.grace" -}}
{{- if eq .key "gateway" }}
{{- $needed := add (.service.preStopSeconds | int) (ceil (divf .service.drainMs 1000) | int) 10 }}
{{- $given := .service.terminationGracePeriodSeconds }}
{{- if and (not (kindIs "invalid" $given)) (lt (int64 $given) $needed) }}
{{- fail (printf "gateway.terminationGracePeriodSeconds is %d, but preStopSeconds, drainMs and 10 s for the last leaves take %d: raise it, or leave it null" (int64 $given) $needed) }}
{{- end }}
{{- kindIs "invalid" $given | ternary $needed $given | int64 }}
{{- else }}
{{- .service.terminationGracePeriodSeconds | int64 }}
{{- end }}
{{- end }}

{{- define "rollcall.redisSecret" -}}
{{- default (printf "%s-redis" (include "rollcall.fullname" .)) .Values.redis.existingSecret.name }}
{{- end }}

{{- define "rollcall.redisKey" -}}
{{- empty .Values.redis.existingSecret.name | ternary "redis-url" .Values.redis.existingSecret.key }}
{{- end }}

{{/* Names that the chart sets itself cannot be set a second time: which of the two wins would be chance. */}}
{{- define "rollcall.extraEnv" -}}
{{- $taken := list "REDIS_URL" "POD_NAME" "POD_NAMESPACE" "NODE_NAME" "OTEL_RESOURCE_ATTRIBUTES" }}
{{- $taken = concat $taken (include "rollcall.config" . | fromYaml | keys) }}
{{- range concat .root.Values.extraEnv .service.extraEnv }}
{{- if has .name $taken }}
{{- fail (printf "%s is set by the chart: use its value, not extraEnv" .name) }}
{{- end }}
{{- $taken = append $taken .name }}
{{ toYaml (list .) }}
{{- end }}
{{- end }}

{{/* What a schema cannot say. Nothing here prints a URL of Redis. */}}
{{- define "rollcall.check" -}}
{{- $name := include "rollcall.fullname" . }}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $name) }}
{{- fail (printf "objects would be called %s-gateway and so on, but Services need names of a-z, 0-9 and - that begin with a letter: choose another release name, or set fullnameOverride" $name) }}
{{- end }}
{{- $redis := .Values.redis }}
{{- if and $redis.url $redis.existingSecret.name }}
{{- fail "redis.url and redis.existingSecret.name are both set: give one of them" }}
{{- end }}
{{- if not (or $redis.url $redis.existingSecret.name) }}
{{- fail "Redis is missing: set redis.existingSecret.name (and key), or redis.url for a try" }}
{{- end }}
{{- if and $redis.url (not (regexMatch "^(redis|rediss|valkey|valkeys)(-cluster|-sentinel)?://[^\\s]+$" $redis.url)) }}
{{- fail "redis.url is no Redis URL: it begins with redis://, rediss://, redis-cluster://, redis-sentinel:// or valkey://" }}
{{- end }}
{{- $auth := .Values.auth }}
{{- $mode := include "rollcall.authMode" . }}
{{- $keys := compact (list $auth.jwksUrl $auth.keysSecret.name $auth.hmacSecret.name) }}
{{- if not $mode }}
{{- fail "auth.mode is not decided: set it to jwt, with auth.keysSecret.name, auth.jwksUrl or auth.hmacSecret.name; or to off, with which any client may claim to be any user" }}
{{- end }}
{{- if and (eq $mode "jwt") (ne (len $keys) 1) }}
{{- fail "auth.mode=jwt needs one of auth.keysSecret.name, auth.jwksUrl and auth.hmacSecret.name, and only one" }}
{{- end }}
{{- if and (eq $mode "off") $keys }}
{{- fail "auth names keys, but auth.mode is off: set it to jwt, or name none" }}
{{- end }}
{{- range $key := list "gateway" "presenceState" }}
{{- with (index $.Values $key).autoscaling }}
{{- if and .enabled (gt (int64 .minReplicas) (int64 .maxReplicas)) }}
{{- fail (printf "%s.autoscaling.minReplicas is above maxReplicas" $key) }}
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.gateway.autoscaling }}
{{- if and .enabled (not .cpuPercent) (not .connections.enabled) }}
{{- fail "gateway.autoscaling has no metric: set cpuPercent, or enable connections" }}
{{- end }}
{{- end }}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) }}
{{- fail "ingress.hosts is empty: name at least one host" }}
{{- end }}
{{- end }}
