package node

import (
	"context"
	"slices"

	"github.com/weir-telemetry/weir/internal/device/record"
	"github.com/weir-telemetry/weir/internal/schema"
	"github.com/weir-telemetry/weir/internal/source/broker"
	"github.com/weir-telemetry/weir/internal/source/mqtt"
	"github.com/weir-telemetry/weir/internal/source/uplink"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// devicePlans are the plans that devices may have recorded with, by their id.
type devicePlans map[[8]byte]*record.Plan

// adoptDevicePlans makes them of the active schemas with `profile: device`.
func (n *Node) adoptDevicePlans(set *schema.Set) {
	plans := devicePlans{}
	for _, p := range set.Plans() {
		if !p.Device() {
			continue
		}
		bin, err := p.Binary()
		var plan *record.Plan
		if err == nil {
			plan, err = record.ParsePlan(bin)
		}
		if err != nil {
			n.log.Error("devices cannot run a schema with profile: device", "schema", p.Name(), "version", p.Version(), "error", err)
			continue
		}
		plans[plan.ID] = plan
	}
	n.devicePlans.Store(&plans)
}

// sink is what sources write to: the pipeline, behind the uplink where that is on.
func (n *Node) sink() telemetry.Sink {
	if n.uplink != nil {
		return n.uplink
	}
	return n.pipeline
}

// startGateway makes the gateway, which serves imports of cards also where the
// uplink is off. The sources come after it.
func (n *Node) startGateway() {
	n.gateway = uplink.New(uplink.Config{
		Sink: n.pipeline,
		Plan: func(id [8]byte) *record.Plan {
			if plans := n.devicePlans.Load(); plans != nil {
				return (*plans)[id]
			}
			return nil
		},
		Publish: n.publishDown,
		Now:     n.pipeline.Clock().Now,
		Logger:  part(n.opts.Logger, "uplink"),
	})
	ctx, end := context.WithCancel(n.work)
	n.endGateway = end
	n.gatewayTask.Go(func() { n.gateway.Run(ctx) })
}

// stopGateway ends it, after the sources and before the pipeline.
func (n *Node) stopGateway() {
	if n.endGateway != nil {
		n.endGateway()
		n.gatewayTask.Wait()
	}
}

// publishDown sends a message to a device through the source that it was heard by.
func (n *Node) publishDown(source, topic string, payload []byte) {
	if b := n.down.Load(); b != nil && source == broker.SourceName {
		b.Publish(topic, payload, false)
		return
	}
	n.following.Lock()
	i := slices.IndexFunc(n.sources, func(s *mqtt.Source) bool { return s.Name() == source })
	var s *mqtt.Source
	if i >= 0 {
		s = n.sources[i]
	}
	n.following.Unlock()
	if s != nil {
		s.Publish(topic, payload)
	}
}

// uplinkTopics adds the devices' topic to what a source subscribes to. Not for a
// shared subscription: what a device sends must come to one node.
func (n *Node) uplinkTopics(i int, topics []string) []string {
	if n.uplink == nil || n.cfg.Sources[i].MQTT.ShareGroup != "" {
		return topics
	}
	return append(slices.Clone(topics), uplink.Filter)
}

// maxDeviceMetrics bounds the series of /metrics.
const maxDeviceMetrics = 1000

func (n *Node) collectUplink(e emitter) {
	if n.uplink == nil {
		return
	}
	all := n.uplink.Status()
	e.gauge("weir_uplink_devices", "Devices that were heard since the node started.", float64(len(all)))
	for _, s := range all[:min(len(all), maxDeviceMetrics)] {
		device := []string{"device", s.Device}
		e.gauge("weir_uplink_lag_records", "Records of the device's current run that are known and not stored.", float64(s.Lag), device...)
		e.gauge("weir_uplink_last_heard_seconds", "When the device was heard last, Unix time.", float64(s.LastHeard)/1e9, device...)
		e.gauge("weir_uplink_time_source", "Where the device's clock has its time from: 0 unknown, 1 gateway, 2 SNTP, 3 GPS, 4 clock chip.", float64(s.TimeSource), device...)
		e.gauge("weir_uplink_time_error_seconds", "How far the device's clock may be off, by its newest time record.", float64(s.TimeError)/1e6, device...)
		e.count("weir_uplink_batches_total", "Batches of records.", float64(s.Batches), device...)
		e.count("weir_uplink_records_total", "Records that were new.", float64(s.Records), device...)
		e.count("weir_uplink_duplicates_total", "Records that were stored already.", float64(s.Duplicates), device...)
		e.count("weir_uplink_gaps_total", "Ranges that were asked for because later ones were there.", float64(s.Gaps), device...)
		e.count("weir_uplink_lost_total", "Records that the device declared lost.", float64(s.Lost), device...)
		e.count("weir_uplink_refused_total", "Records that could not be read, and are quarantined.", float64(s.Refused), device...)
		e.count("weir_uplink_waiting_total", "Times that records stayed on the device because no active schema is for them.", float64(s.Waiting), device...)
		e.count("weir_uplink_malformed_total", "Messages that are none of the uplink, or damaged.", float64(s.Malformed), device...)
		e.count("weir_uplink_schemas_refused_total", "Schemas that the device refused.", float64(s.SchemasRefused), device...)
		for _, x := range s.Schemas {
			e.gauge("weir_uplink_schema_version", "The version of a schema that runs on the device.", float64(x.Version), "device", s.Device, "schema", x.Name)
		}
	}
}
