package demo

import (
	"fmt"
	"math"
	"time"
)

// hash is the SplitMix64 finaliser over the parts: noise without state, so that
// a second of a device always sounds the same.
func hash(parts ...uint64) uint64 {
	var x uint64
	for _, p := range parts {
		x += 0x9e3779b97f4a7c15 ^ p
		x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
		x = (x ^ x>>27) * 0x94d049bb133111eb
		x ^= x >> 31
	}
	return x
}

// noise is uniform in [-1, 1).
func noise(parts ...uint64) float64 { return float64(hash(parts...)>>11)/(1<<52) - 1 }

// daily is a wave of one day with its top in the early afternoon, in [-1, 1].
func daily(t time.Time) float64 {
	seconds := t.Sub(t.Truncate(24 * time.Hour)).Seconds()
	return math.Sin(2 * math.Pi * (seconds - 8*3600) / 86400)
}

// wander is a slow random walk in about [-1, 1]: noise at every step of the
// period, joined by cosines.
func wander(t time.Time, period time.Duration, parts ...uint64) float64 {
	step := t.UnixNano() / int64(period)
	at := float64(t.UnixNano()%int64(period)) / float64(period)
	a, b := noise(append(parts, uint64(step))...), noise(append(parts, uint64(step+1))...)
	s := (1 - math.Cos(math.Pi*at)) / 2
	return a*(1-s) + b*s
}

func (d *device) env(t time.Time, salt uint64) []byte {
	id := d.id
	temperature := 21 + 3*noise(id, 1) + 2.5*daily(t) + 1.5*wander(t, 20*time.Minute, id, 2) + 0.1*noise(salt, 3)
	humidity := 45 + 8*noise(id, 4) - 6*daily(t) + 4*wander(t, 30*time.Minute, id, 5) + 0.15*noise(salt, 6)
	pressure := 1013.25 + 9*wander(t, 6*time.Hour, 7) + 0.2*noise(salt, 8)
	battery := 3.3 + 0.4*float64(hash(id, 9)%100)/100
	status := "ok"
	switch {
	case temperature > 26.5:
		status = "warn"
	case battery < 3.31:
		status = "fail"
	}
	if salt%100 == 0 {
		switch salt / 100 % 4 {
		case 0: // the sensor is broken off
			return fmt.Appendf(nil, `{"ts":%d,"temperature":999.9,"humidity":%.2f,"status":"fail"}`, t.UnixMilli(), humidity)
		case 1: // the firmware says so in words
			return fmt.Appendf(nil, `{"ts":%d,"temperature":"n/a","humidity":%.2f,"status":"fail"}`, t.UnixMilli(), humidity)
		case 2: // the device lost power while it wrote
			return fmt.Appendf(nil, `{"ts":%d,"temperature":%.2f,"humi`, t.UnixMilli(), temperature)
		default: // the clock is not set
			return fmt.Appendf(nil, `{"temperature":%.2f,"humidity":%.2f,"status":"%s"}`, temperature, humidity, status)
		}
	}
	return fmt.Appendf(nil, `{"ts":%d,"temperature":%.2f,"humidity":%.2f,"pressure":%.2f,"battery":%.2f,"status":"%s"}`,
		t.UnixMilli(), temperature, humidity, pressure, battery, status)
}

// state is what a machine does; it changes every few minutes.
func (d *device) state(t time.Time) string {
	switch h := hash(d.id, 20, uint64(t.Unix()/150)) % 20; {
	case h < 13:
		return "running"
	case h < 17:
		return "idle"
	case h < 19:
		return "setup"
	}
	return "fault"
}

func (d *device) spindle(t time.Time, salt uint64) []byte {
	if salt%100 == 0 {
		return []byte("NaN") // a drive that does not answer
	}
	speed := 0.0
	if d.state(t) == "running" {
		speed = 8000 + 4000*float64(hash(d.id, 21)%3) + 500*wander(t, 40*time.Second, d.id, 22) + 5*noise(salt, 23)
	}
	return fmt.Appendf(nil, "%.1f", speed)
}

func (d *device) power(t time.Time, salt uint64) []byte {
	load := 20 + 15*noise(d.id, 30) + 10*daily(t) + 6*wander(t, 5*time.Minute, d.id, 31)
	load = max(load, 1)
	b := fmt.Appendf(nil, `{"ts":"%s","meter":{"model":"PM-%d"},"phases":[`, t.UTC().Format(time.RFC3339), 100+100*(d.id%2))
	for phase := uint64(1); phase <= 3; phase++ {
		voltage := 230 + 2*wander(t, time.Minute, d.id, 32, phase) + 0.2*noise(salt, 33, phase)
		current := load * (1 + 0.1*noise(d.id, 34, phase) + 0.02*noise(salt, 35, phase))
		if salt%100 == 0 && phase == 3 {
			voltage = -1 // a phase connected the wrong way round
		}
		if phase > 1 {
			b = append(b, ',')
		}
		b = fmt.Appendf(b, `{"name":"L%d","voltage":%.1f,"current":%.2f,"power":%.1f}`, phase, voltage, current, voltage*current)
	}
	return append(b, "]}"...)
}
