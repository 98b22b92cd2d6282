package config

// Config is the whole configuration of a node.
type Config struct {
	DataDir string `key:"data_dir" default:"./weir-data" doc:"Where readings, the catalog and the control socket live. One node owns it."`
	Schemas string `key:"schemas" default:"./schemas" doc:"The directory of schema documents (*.yaml, *.yml, *.json); it is watched and reloaded when files change."`

	Log        Log        `key:"log"`
	HTTP       HTTP       `key:"http"`
	Broker     Broker     `key:"broker"`
	Sources    []Source   `key:"sources"`
	Uplink     Uplink     `key:"uplink"`
	Pipeline   Pipeline   `key:"pipeline"`
	Quarantine Quarantine `key:"quarantine"`
	Store      Store      `key:"store"`
	Query      Query      `key:"query"`
	Memory     Memory     `key:"memory"`
	Encryption Encryption `key:"encryption"`
	Backup     Backup     `key:"backup"`
	Node       Node       `key:"node"`
}

// Log says what the node writes to standard error about itself.
type Log struct {
	Level  string `key:"level" default:"info" oneof:"debug info warn error" doc:"The least level that is logged."`
	Format string `key:"format" default:"text" oneof:"text json" doc:"How log lines are written."`
}

// HTTP is the server of /healthz, /readyz and /metrics.
type HTTP struct {
	Listen       string `key:"listen" default:"127.0.0.1:9347" kind:"listen" doc:"Address of /healthz, /readyz and /metrics; empty turns the server off."`
	PasswordFile string `key:"password_file" kind:"file" doc:"A file of user:hash lines; with it, /metrics and the reasons of /readyz want HTTP basic authentication. Lines are made by weir password."`
}

// Broker is the embedded broker.
type Broker struct {
	Enabled      bool      `key:"enabled" default:"true" doc:"Whether the node runs an MQTT broker of its own."`
	Listen       string    `key:"listen" default:"127.0.0.1:1883" kind:"listen" doc:"Address for MQTT over TCP; empty turns this listener off."`
	TLS          BrokerTLS `key:"tls"`
	WebSocket    BrokerWS  `key:"websocket"`
	PasswordFile string    `key:"password_file" kind:"file" doc:"A file of user:hash lines that clients log in with, as weir password and mosquitto_passwd write them."`
	Anonymous    string    `key:"anonymous" default:"auto" oneof:"auto yes no" doc:"Whether clients may connect without a password. auto: only where no password_file is given and every listener is on a loopback address or asks for a client certificate."`

	MaxClients        int      `key:"max_clients" default:"10000" min:"1" max:"1000000" doc:"Clients that may be connected at a time."`
	MaxPacket         Size     `key:"max_packet" default:"255MB" min:"1KB" max:"255MB" doc:"The largest packet that a client may send; a larger one ends its connection. See pipeline.max_payload for what becomes of large payloads."`
	MaxInflight       int      `key:"max_inflight" default:"16384" min:"1" max:"65535" doc:"QoS 1 and 2 messages of one client that may wait for their acknowledgement (MQTT 5: receive maximum)."`
	MaxKeepAlive      Duration `key:"max_keep_alive" default:"0s" min:"0s" max:"18h" doc:"The longest keep alive that MQTT 5 clients may choose; 0s is no limit."`
	MaxSessionExpiry  Duration `key:"max_session_expiry" default:"7d" min:"1s" doc:"How long a session is kept after its client went."`
	MaxQueuedMessages int      `key:"max_queued_messages" default:"100000" min:"1" doc:"Messages that may wait for one subscriber that is away or slow; later ones are dropped for it and counted."`
	MaxQueuedBytes    Size     `key:"max_queued_bytes" default:"16MB" min:"1KB" doc:"Bytes that may wait for one subscriber."`
	MaxQueuedTotal    Size     `key:"max_queued_total" default:"64MB" min:"1KB" doc:"Bytes that may wait for all subscribers together."`
	MaxRetainedBytes  Size     `key:"max_retained_bytes" default:"64MB" min:"1KB" doc:"Bytes of retained messages; a message beyond them is passed on and not retained."`
}

// Uplink takes what devices recorded (docs/uplink.md).
type Uplink struct {
	Enabled bool `key:"enabled" default:"false" doc:"Whether recorders hand over what they have: messages on weir/up/ are taken apart, stored once, and confirmed on weir/down/. Every source without a share_group subscribes to weir/up/+."`
}

// BrokerTLS is the listener for MQTT over TLS.
type BrokerTLS struct {
	Listen     string `key:"listen" kind:"listen" doc:"Address for MQTT over TLS (usually port 8883); empty turns it off."`
	CertFile   string `key:"cert_file" kind:"file" doc:"PEM certificate chain."`
	KeyFile    string `key:"key_file" kind:"file" doc:"PEM private key."`
	ClientCA   string `key:"client_ca_file" kind:"file" doc:"PEM certificates that must have signed a client's certificate; empty asks for none."`
	MinVersion string `key:"min_version" default:"1.3" oneof:"1.2 1.3" doc:"The lowest TLS version that is spoken."`
}

// BrokerWS is the listener for MQTT over WebSocket.
type BrokerWS struct {
	Listen  string   `key:"listen" kind:"listen" doc:"Address for MQTT over WebSocket; empty turns it off."`
	Path    string   `key:"path" default:"/mqtt" doc:"Where the WebSocket is served."`
	TLS     bool     `key:"tls" default:"false" doc:"Whether it is served as wss, with the certificate of broker.tls."`
	Origins []string `key:"origins" doc:"Host names from which browsers may connect, besides the listener's own; patterns as *.example.com."`
}

// Source is one place where messages come from; exactly one kind is set.
type Source struct {
	MQTT MQTT `key:"mqtt"`
}

// MQTT is a client of an external broker.
type MQTT struct {
	URL            string   `key:"url" kind:"brokerurl" doc:"The broker, as mqtt://host:1883 or mqtts://host:8883. Required."`
	Name           string   `key:"name" doc:"The source's name in metrics and quarantine records; default: mqtt, then mqtt2, mqtt3 and so on."`
	Topics         []string `key:"topics" doc:"Topic filters to subscribe to; default: what the schemas match. $share/group/filter is a shared subscription."`
	ShareGroup     string   `key:"share_group" doc:"Turns every filter into a shared subscription of this group, so that several nodes divide the stream (MQTT 5)."`
	QoS            int      `key:"qos" default:"1" min:"0" max:"2" doc:"The quality of service asked for."`
	ClientID       string   `key:"client_id" doc:"The MQTT client identifier. Empty: drawn once and kept in data_dir, because two nodes with one id evict each other without end."`
	Version        string   `key:"version" default:"auto" oneof:"auto 3.1.1 5" doc:"The protocol version; auto tries 5, then 3.1.1."`
	Username       string   `key:"username" doc:"The user name to log in with."`
	PasswordFile   string   `key:"password_file" kind:"file" doc:"A file whose first line is the password."`
	CAFile         string   `key:"ca_file" kind:"file" doc:"PEM certificates that the broker's certificate must be signed by; default: those of the system."`
	CertFile       string   `key:"cert_file" kind:"file" doc:"PEM client certificate chain."`
	KeyFile        string   `key:"key_file" kind:"file" doc:"PEM private key of the client certificate."`
	ServerName     string   `key:"server_name" doc:"The name that the broker's certificate must have; default: the host of url."`
	Insecure       bool     `key:"insecure_skip_verify" default:"false" doc:"Whether any certificate of the broker is taken. Only for trying things out."`
	MinTLS         string   `key:"min_tls" default:"1.3" oneof:"1.2 1.3" doc:"The lowest TLS version that is spoken."`
	ReceiveMaximum int      `key:"receive_maximum" default:"65535" min:"1" max:"65535" doc:"Unacknowledged messages that the broker may have in flight to this client (MQTT 5)."`
	SessionExpiry  Duration `key:"session_expiry" default:"7d" min:"1s" doc:"How long the broker keeps the session while the node is away (MQTT 5). Not 0s: what comes while a connection is down would be lost."`
	KeepAlive      Duration `key:"keep_alive" default:"30s" min:"1s" max:"18h" doc:"The longest silence towards the broker."`
	ConnectTimeout Duration `key:"connect_timeout" default:"15s" min:"100ms" max:"10m" doc:"The bound of dialling, TLS and CONNACK together."`
}

// Pipeline is the way from the sources to the store.
type Pipeline struct {
	Buffer     Size `key:"buffer" default:"auto" min:"1MB" max:"64GB" doc:"Memory for messages that wait for their commit; when it is full, sockets are not read. auto: 16MB, or 64MB where the machine has 2 GB or more."`
	TopicCache Size `key:"topic_cache" default:"64MB" min:"64KB" max:"64GB" doc:"Memory for the cache from topics to schemas and series."`
	MaxPayload Size `key:"max_payload" default:"1MB" min:"1KB" max:"256MB" doc:"Larger payloads are drained and quarantined truncated."`
}

// Quarantine bounds what is kept of messages that could not become readings.
type Quarantine struct {
	MaxRecords int  `key:"max_records" default:"100000" min:"1" doc:"Records that are kept; the oldest go first. A schema's on_invalid: drop keeps none."`
	MaxBytes   Size `key:"max_bytes" default:"64MB" min:"1KB" doc:"Bytes of records that are kept; the oldest go first."`
}

// Store is where readings are kept.
type Store struct {
	Driver         string   `key:"driver" default:"embedded" oneof:"embedded" doc:"Which store: embedded is SQLite and segment files in data_dir."`
	CommitInterval Duration `key:"commit_interval" default:"auto" min:"0s" max:"5s" doc:"Commits start at least this far apart. auto: 2ms; 1s where data_dir lies on an SD card or eMMC, because a card has a life."`
	MaxSeries      int      `key:"max_series" default:"1000000" min:"1" max:"100000000" doc:"Series of one tenant; readings of series beyond it are quarantined."`
}

// Query bounds what queries may use.
type Query struct {
	Timeout   Duration `key:"timeout" default:"60s" min:"10ms" doc:"The time after which a query is stopped."`
	Memory    Size     `key:"memory" default:"auto" min:"1MB" doc:"Memory of one query for groups, sorting and temporary tables. auto: 64MB, or 256MB where the machine has 2 GB or more."`
	MaxActive int      `key:"max_active" default:"4" min:"1" max:"1000" doc:"Queries that run at a time; more wait."`
}

// Memory is what the garbage collector is told.
type Memory struct {
	Limit Size `key:"limit" default:"auto" min:"16MB" doc:"A soft limit for the whole process, as GOMEMLIMIT. auto: half of the machine's memory (or of the container's limit)."`
	GC    int  `key:"gc_percent" default:"20" min:"5" max:"1000" doc:"How much the heap may grow between collections, as GOGC; smaller is less memory and more CPU."`
}

// Encryption seals what is on disk. The master key comes from exactly one place.
type Encryption struct {
	Enabled    bool   `key:"enabled" default:"false" doc:"Whether everything that is kept of readings is encrypted on disk. A data_dir stays what it was made as."`
	KeyFile    string `key:"key_file" kind:"keyfile" doc:"The file of the master key, as weir key init makes it; outside data_dir, and readable by its owner alone."`
	KeyEnv     string `key:"key_env" doc:"In place of key_file: the name of an environment variable that holds the key (64 hexadecimal digits, or base64)."`
	KeyCommand string `key:"key_command" doc:"In place of key_file: a command line for the shell that prints the key."`
}

// Backup says when the node backs itself up, and where.
type Backup struct {
	Dir      string `key:"dir" doc:"The backup directory: that of weir backup without an argument, and of scheduled backups."`
	Schedule string `key:"schedule" kind:"schedule" doc:"When the node writes a snapshot: an interval, as 6h, or a time of day in the machine's zone, as 03:30. A run that was missed is made up for at the start. Empty: never."`
	Keep     int    `key:"keep" default:"7" min:"0" doc:"Snapshots that are kept; the oldest go when a new one is written. 0: all."`
	Rate     Size   `key:"rate" default:"32MB" min:"0B" doc:"Bytes a second that a backup copies at most, so that ingest keeps its pace; 0B is no limit."`
	Verify   bool   `key:"verify" default:"true" doc:"Whether a scheduled snapshot is read again at its end."`
	WithKeys bool   `key:"with_keys" default:"false" doc:"Whether key material (TLS keys, the master key) is backed up too. Whoever gets hold of such a backup can read everything."`
}

// Node is about the process itself.
type Node struct {
	DrainTimeout Duration `key:"drain_timeout" default:"8s" min:"100ms" max:"5m" doc:"How long a stopping node may take to commit and acknowledge what it has."`
	Profile      bool     `key:"profile" default:"false" doc:"Whether the HTTP server offers /debug/pprof; only on a loopback address."`
}
