package node

import (
	"runtime"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/weir-telemetry/weir/internal/pipeline"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// collector turns the snapshots that the rooms give into metrics at each scrape,
// so that a message costs the metrics nothing. All counts of one source come
// from one snapshot and therefore add up:
//
//	received = stored + duplicate + quarantined + dropped + unmatched + in_flight
type collector struct{ n *Node }

// newRegistry returns what /metrics shows.
func newRegistry(n *Node) *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collector{n}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// Describe implements prometheus.Collector. It names nothing: which sources and
// reasons there are is known only at the scrape.
func (collector) Describe(chan<- *prometheus.Desc) {}

// emitter writes metrics to a channel.
type emitter struct{ ch chan<- prometheus.Metric }

func (e emitter) metric(kind prometheus.ValueType, name, help string, value float64, labels ...string) {
	var names, values []string
	for i := 0; i < len(labels); i += 2 {
		names, values = append(names, labels[i]), append(values, labels[i+1])
	}
	e.ch <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, names, nil), kind, value, values...)
}

func (e emitter) count(name, help string, value float64, labels ...string) {
	e.metric(prometheus.CounterValue, name, help, value, labels...)
}

func (e emitter) gauge(name, help string, value float64, labels ...string) {
	e.metric(prometheus.GaugeValue, name, help, value, labels...)
}

func (e emitter) histogram(name, help string, h pipeline.Histogram) {
	buckets := make(map[float64]uint64, len(h.Bounds))
	var below uint64
	for i, bound := range h.Bounds {
		below += h.Counts[i]
		buckets[bound] = below
	}
	e.ch <- prometheus.MustNewConstHistogram(prometheus.NewDesc(name, help, nil, nil), h.Count, h.Sum, buckets)
}

func bit(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	e, n := emitter{ch}, c.n
	e.gauge("weir_build_info", "The version of this binary; always 1.", 1, "version", n.opts.Version, "go", runtime.Version())
	ready, reasons := n.ready()
	e.gauge("weir_ready", "1 while /readyz says yes.", bit(ready))
	e.gauge("weir_ready_reasons", "Reasons that /readyz gives, those that do not make the node unready included.", float64(len(reasons)))
	n.collectPipeline(e)
	n.collectSources(e)
	n.collectBroker(e)
	n.collectUplink(e)
	n.collectStore(e)
	n.collectSchemas(e)
	n.collectBackups(e)
}

func (n *Node) collectPipeline(e emitter) {
	s := n.pipeline.Stats()
	for i := range s.Sources {
		collectSource(e, &s.Sources[i])
	}
	e.count("weir_commits_total", "Commits that were made durable.", float64(s.Commits))
	e.count("weir_committed_rows_total", "Rows in those commits.", float64(s.CommittedRows))
	e.count("weir_committed_bytes_total", "Bytes of memory that those commits held.", float64(s.CommittedBytes))
	e.count("weir_commits_taken_apart_total", "Commits that the store refused, which were bisected to the culprit.", float64(s.TakenApart))
	e.histogram("weir_commit_rows", "Rows of a commit.", s.CommitRows)
	e.histogram("weir_commit_stage_seconds", "Time to find duplicates and encode a commit.", s.StageSeconds)
	e.histogram("weir_commit_seconds", "Time to make a commit durable.", s.CommitSeconds)
	e.histogram("weir_ack_seconds", "Time from the arrival of a commit's oldest message to its acknowledgement.", s.AckSeconds)
	e.gauge("weir_pipeline_buffered_bytes", "Bytes of messages that wait for their commit.", float64(s.BufferedBytes))
	e.gauge("weir_pipeline_buffer_bytes", "The bound of weir_pipeline_buffered_bytes; at it, sockets are not read.", float64(s.BufferBytes))
	e.gauge("weir_pipeline_blocked", "Sources that wait for room.", float64(s.Blocked))
	e.gauge("weir_pipeline_sessions", "MQTT sessions that are open.", float64(s.OpenSessions))
	e.gauge("weir_topic_cache_topics", "Topics that are remembered with their schema and series.", float64(s.CachedTopics))
	e.gauge("weir_topic_cache_bytes", "Memory that they take.", float64(s.TopicCacheBytes))
	e.count("weir_replayed_total", "Quarantined messages that a replay stored.", float64(s.Replayed))
	e.gauge("weir_store_failing", "1 while commits do not succeed.", bit(s.Trouble != nil))
	for _, t := range n.pipeline.Silence() {
		e.gauge("weir_series_heard", "Series of schemas with expect_every that were heard since the start.", float64(t.Heard), "table", t.Table)
		e.gauge("weir_series_silent", "Of them, those that are silent for longer than expect_every.", float64(t.Silent), "table", t.Table)
	}
}

func collectSource(e emitter, s *pipeline.SourceStats) {
	source := []string{"source", s.Source}
	e.count("weir_messages_received_total", "Messages that arrived, redeliveries included.", float64(s.Received), source...)
	e.count("weir_messages_received_bytes_total", "Bytes of their payloads.", float64(s.ReceivedBytes), source...)
	e.count("weir_messages_stored_total", "Messages whose readings became durable.", float64(s.Stored), source...)
	e.count("weir_messages_duplicate_total", "Messages that were stored already.", float64(s.Duplicate), source...)
	e.count("weir_messages_unmatched_total", "Messages whose topic no schema matches.", float64(s.Unmatched), source...)
	e.gauge("weir_messages_in_flight", "Messages that wait for their commit.", float64(s.InFlight), source...)
	byReason(e, "weir_messages_quarantined_total", "Messages that went to quarantine.", s.Source, pipeline.QuarantineReasons(), s.Quarantined)
	byReason(e, "weir_messages_dropped_total", "Messages that the configuration or a schema says to drop.", s.Source, pipeline.DropReasons(), s.Dropped)
	e.count("weir_readings_total", "Readings that messages held.", float64(s.Readings), source...)
	e.count("weir_readings_stored_total", "Readings that became durable.", float64(s.StoredReadings), source...)
	e.count("weir_readings_duplicate_total", "Readings that were stored already.", float64(s.DuplicateReadings), source...)
	e.count("weir_readings_quarantined_total", "Readings that the store refused.", float64(s.QuarantinedReadings), source...)
	e.gauge("weir_readings_in_flight", "Readings that wait for their commit.", float64(s.InFlightReadings), source...)
}

// byReason counts also what has not happened yet: a sum in PromQL has no value
// while one of its terms has none.
func byReason(e emitter, name, help, source string, known []telemetry.Reason, counts map[telemetry.Reason]uint64) {
	for r := range counts {
		if !slices.Contains(known, r) {
			known = append(known, r)
		}
	}
	for _, r := range known {
		e.count(name, help, float64(counts[r]), "source", source, "reason", string(r))
	}
}

func (n *Node) collectSources(e emitter) {
	for _, s := range n.sources {
		st := s.Status()
		source := []string{"source", st.Name}
		e.gauge("weir_source_connected", "1 while the source is connected to its broker.", bit(st.Connected), source...)
		e.gauge("weir_source_stalled", "1 while back-pressure holds the socket.", bit(st.Stalled), source...)
		e.gauge("weir_source_unacknowledged", "Messages that the broker waits for an acknowledgement of.", float64(st.InFlight), source...)
		e.count("weir_source_connects_total", "Connections that the broker accepted.", float64(st.Counts.Connects), source...)
		e.count("weir_source_failures_total", "Connections that were refused or broke.", float64(st.Counts.Failures), source...)
		e.count("weir_source_sessions_lost_total", "Times that the broker no longer knew the session: what it had queued is gone.", float64(st.Counts.SessionsLost), source...)
		e.count("weir_source_oversized_total", "Payloads over the limit.", float64(st.Counts.Oversized), source...)
		e.count("weir_source_dup_total", "Messages with DUP set.", float64(st.Counts.Duplicates), source...)
		e.count("weir_source_acks_total", "Acknowledgements that were written.", float64(st.Counts.Acks), source...)
		e.count("weir_source_received_bytes_total", "Bytes read from the socket.", float64(st.Counts.BytesIn), source...)
	}
}

func (n *Node) collectBroker(e emitter) {
	if n.broker == nil {
		return
	}
	s := n.broker.Stats()
	e.gauge("weir_broker_clients", "Clients that are connected.", float64(s.Clients))
	e.gauge("weir_broker_sessions", "Sessions that are kept, of clients connected or away.", float64(s.Sessions))
	e.gauge("weir_broker_retained_messages", "Retained messages.", float64(s.Retained))
	e.gauge("weir_broker_retained_bytes", "Their size.", float64(s.RetainedBytes))
	e.gauge("weir_broker_queued_bytes", "Bytes that wait for subscribers.", float64(s.QueuedBytes))
	e.count("weir_broker_connects_total", "Connections that were accepted.", float64(s.Connects))
	e.count("weir_broker_received_total", "Messages of clients, wills included.", float64(s.Received))
	e.count("weir_broker_sent_total", "Messages to subscribers.", float64(s.Sent))
	e.count("weir_broker_received_bytes_total", "Bytes read from sockets.", float64(s.BytesIn))
	e.count("weir_broker_sent_bytes_total", "Bytes written to sockets.", float64(s.BytesOut))
	const dropped = "Messages that a subscriber did not get, by why."
	e.count("weir_broker_subscriber_dropped_total", dropped, float64(s.DroppedSlow), "reason", "slow")
	e.count("weir_broker_subscriber_dropped_total", dropped, float64(s.DroppedQueue), "reason", "queue_full")
	e.count("weir_broker_subscriber_dropped_total", dropped, float64(s.Oversized), "reason", "oversized")
	e.count("weir_broker_not_retained_total", "Retained messages over broker.max_retained_bytes.", float64(s.NotRetained))
	e.count("weir_broker_failed_logins_total", "Logins that were refused.", float64(s.FailedLogins))
	e.count("weir_broker_violations_total", "Connections that were ended because the client broke the protocol.", float64(s.Violations))
	e.count("weir_broker_takeovers_total", "Connections that were ended because their client id came again.", float64(s.Takeovers))
	e.count("weir_broker_refused_total", "Connections over broker.max_clients.", float64(s.Refused))
}

func (n *Node) collectStore(e emitter) {
	s := n.store.Stats()
	e.count("weir_store_rows_total", "Readings that the store took.", float64(s.Rows))
	e.count("weir_store_duplicates_total", "Readings that it had already.", float64(s.Duplicates))
	e.count("weir_store_lookups_total", "Readings that were not newer than their series, and were looked up.", float64(s.Lookups))
	e.gauge("weir_store_wal_bytes", "Size of the write-ahead log.", float64(s.WALSize))
	e.gauge("weir_store_catalog_bytes", "Size of the catalog.", float64(s.CatalogSize))
	e.gauge("weir_store_compaction_debt_bytes", "Bytes of level 0, which wait for compaction.", float64(s.Level0Bytes))
	e.gauge("weir_store_compaction_debt_rows", "Rows of level 0.", float64(s.Level0Rows))
	e.gauge("weir_store_compaction_lag_seconds", "Age of the oldest commit in level 0.", n.compactionLag(s.Level0OldestNS).Seconds())
	e.gauge("weir_store_segments", "Segment files.", float64(s.Segments))
	e.gauge("weir_store_segment_rows", "Readings in them.", float64(s.SegmentRows))
	e.gauge("weir_store_segment_bytes", "Their size.", float64(s.SegmentSize))
	e.count("weir_store_compactions_total", "Compactions.", float64(s.Compactions))
	e.count("weir_store_compaction_errors_total", "Compactions that failed.", float64(s.CompactErrors))
	e.count("weir_store_checkpoints_total", "Checkpoints of the write-ahead log.", float64(s.Checkpoints))
	e.count("weir_store_damaged_total", "Times that damaged data was met.", float64(s.Damaged))
	e.count("weir_store_deleted_rows_total", "Readings that weir delete took.", float64(s.Deleted))
	e.gauge("weir_store_deleted_rows_kept", "Deleted readings that are still on the disk.", float64(s.DeletedKept))
	const written = "Bytes that the store wrote, by what they were written for."
	e.count("weir_store_written_bytes_total", written, float64(s.FrameBytes), "what", "level0")
	e.count("weir_store_written_bytes_total", written, float64(s.CarriedBytes), "what", "carried")
	e.count("weir_store_written_bytes_total", written, float64(s.SegmentBytes), "what", "segments")
	e.count("weir_store_written_bytes_total", written, float64(s.MergedBytes), "what", "merges")
	e.gauge("weir_store_merge_debt_bytes", "Bytes of segments that merges are due to rewrite.", float64(s.MergeDebtBytes))
	e.gauge("weir_store_write_amplification", "Bytes that the store wrote, to the log, at checkpoints, in compactions and merges, for each byte that was committed.", s.WriteAmplification())
	e.count("weir_store_written_bytes_total", written, float64(s.RollupBytes), "what", "rollups")
	e.gauge("weir_rollup_segments", "Segments of rollups.", float64(s.Rollups))
	e.gauge("weir_rollup_bytes", "Their size.", float64(s.RollupSize))
	e.count("weir_rollups_made_total", "Rollups that were made, those that were made anew included.", float64(s.RollupsMade))
	e.gauge("weir_rollup_debt_partitions", "Days of tables whose rollups are to be made; readings answer for them.", float64(s.RollupDebt))
	e.count("weir_retention_deleted_rows_total", "Readings that were deleted by age.", float64(s.RetiredRows))
	e.count("weir_retention_deleted_bytes_total", "What their segments took.", float64(s.RetiredBytes))
	e.count("weir_retention_deleted_rollups_total", "Rollups that were deleted by age.", float64(s.RetiredRollups))
	e.gauge("weir_retention_time_seconds", "The time from which ages count, since 1970; 0 while none is known.", float64(s.RetentionTimeNS)/1e9)
	e.gauge("weir_retention_clock_ahead_seconds", "How far the wall clock is ahead of that time, where it is not believed: retention is paused.", s.RetentionAhead.Seconds())
	if s.Rows > 0 {
		perReading := float64(s.FrameBytes+s.SegmentBytes+s.MergedBytes) / float64(s.Rows)
		if total, ok := processWritten(); ok {
			e.count("weir_process_written_bytes_total", "Bytes that this process caused to be written to devices.", float64(total))
			perReading = float64(total) / float64(s.Rows)
		}
		e.gauge("weir_bytes_written_per_reading", "Bytes written for each reading since the start; where the system tells it, with everything that the file system adds.", perReading)
	}
	e.gauge("weir_store_series", "Series.", float64(s.Series))
	e.gauge("weir_store_series_bytes", "Memory that they take in the store.", float64(s.SeriesMemory))
	e.gauge("weir_quarantine_records", "Records in quarantine.", float64(s.Quarantined))
	e.gauge("weir_quarantine_bytes", "Their size.", float64(s.QuarantineSize))
	e.count("weir_quarantine_lost_total", "Records that went because the quarantine was full.", float64(s.QuarantineLost))
	e.gauge("weir_ledger_entries", "Packet ids that the session ledger holds.", float64(s.LedgerEntries))
}

func (n *Node) collectSchemas(e emitter) {
	e.count("weir_clock_jumps_total", "Times that the wall clock jumped by more than a second; stamps of receipt follow a jump that lasts for a minute.", float64(n.pipeline.Clock().Jumps()))
	e.gauge("weir_schemas", "Active schema versions.", float64(len(n.registry.Current().Plans())))
	e.gauge("weir_schema_problems", "Problems of the last load of the schemas.", float64(len(n.registry.Problems())))
}
