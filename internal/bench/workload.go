package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Workload appends PUBLISH packets one after another. It is not safe for
// concurrent use and allocates nothing per message.
type Workload interface {
	// Append appends the next message as a PUBLISH packet. packetID is written
	// at QoS 1; v5 adds the empty property list of MQTT 5.
	Append(dst []byte, packetID uint16, qos byte, v5 bool) []byte
	// WriteSchemas writes the schema documents that the messages obey.
	WriteSchemas(dir string) error
	// Filters are the topic filters that cover the messages.
	Filters() []string
}

// splitmix is the SplitMix64 generator (Steele, Lea, Flood 2014): a state that
// is also a hash, so that a device's base values need no memory.
func splitmix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// baseTime is the time of the first reading, in Unix milliseconds.
const baseTime = 1_750_000_000_123

// W1 is the six-field JSON workload: devices in turn, one reading a second each;
// temperature, humidity and pressure are a base of the device plus uniform noise
// of 20, 30 and 40 hundredths, battery and status constant per device. The
// entropy of a reading is log2(20*30*40)/8 = 1.82 bytes.
type W1 struct {
	first   int
	devices int
	next    int
	round   int64
	random  uint64
	digits  int
	layouts [2]*w1Layout // by status length, of this round
}

// NewW1 returns the workload for that many devices. The seed decides the noise.
func NewW1(devices int, seed uint64) *W1 {
	return NewW1Part(0, devices, devices, seed)
}

// NewW1Part returns the part of a workload of all devices that one of several
// publishers sends: devices from first on.
func NewW1Part(first, devices, all int, seed uint64) *W1 {
	return &W1{first: first, devices: devices, random: splitmix(seed), digits: max(5, len(strconv.Itoa(all-1)))}
}

// W1Schema is the schema document that W1 obeys.
const W1Schema = `name: env
version: 1
topic: plants/{plant}/lines/{line}/devices/{device}/env
format: json
time: {at: /ts, as: unix_ms}
payload:
  type: object
  required: [ts, temperature]
  properties:
    ts:          {type: integer}
    temperature: {type: number, minimum: -40, maximum: 125, x-unit: Cel}
    humidity:    {type: number, minimum: 0, maximum: 100, x-unit: "%RH"}
    pressure:    {type: number, x-unit: hPa}
    battery:     {type: number, minimum: 0, x-unit: V}
    status:      {type: string, enum: [ok, warn, fail]}
`

// WriteSchemas implements Workload.
func (w *W1) WriteSchemas(dir string) error {
	return os.WriteFile(filepath.Join(dir, "env.yaml"), []byte(W1Schema), 0o644)
}

// Filters implements Workload.
func (w *W1) Filters() []string { return []string{"plants/+/lines/+/devices/+/env"} }

const (
	w1Topic = "plants/p03/lines/l2/devices/d" // then the digits, then w1Kind
	w1Kind  = "/env"
)

var statuses = [...]string{"ok", "ok", "ok", "ok", "ok", "ok", "ok", "ok", "warn", "fail"}

// w1Layout is a packet with zeros for digits, and where the digits stand.
type w1Layout struct {
	packet                                                               []byte
	device, id, time, temperature, humidity, pressure, battery, statusAt int
	qos                                                                  byte
	v5                                                                   bool
}

// layout builds the packet for a status length, 2 or 4 bytes.
func (w *W1) layout(statusLen int, qos byte, v5 bool) *w1Layout {
	const payload = `{"ts":1750000000123,"temperature":00.00,"humidity":00.00,"pressure":0000.00,"battery":0.00,"status":"`
	l := &w1Layout{qos: qos, v5: v5}
	topicLen := len(w1Topic) + w.digits + len(w1Kind)
	l.packet = appendPublishHeader(nil, topicLen, len(payload)+statusLen+2, qos, v5)
	l.packet = append(l.packet, w1Topic...)
	l.device = len(l.packet)
	l.packet = append(appendDigits(l.packet, 0, w.digits), w1Kind...)
	l.id = len(l.packet)
	l.packet = appendPublishMiddle(l.packet, 0, qos, v5)
	start := len(l.packet)
	at := func(text string) int { return start + strings.Index(payload, text) + len(text) }
	l.time = at(`"ts":`)
	l.temperature = at(`"temperature":`)
	l.humidity = at(`"humidity":`)
	l.pressure = at(`"pressure":`)
	l.battery = at(`"battery":`)
	l.packet = append(l.packet, payload...)
	l.statusAt = len(l.packet)
	l.packet = append(l.packet, "????"[:statusLen]...)
	l.packet = append(l.packet, `"}`...)
	return l
}

// w1Reading is one reading, its numbers in hundredths.
type w1Reading struct {
	device                                   int
	time                                     int64 // Unix milliseconds
	temperature, humidity, pressure, battery uint64
	status                                   string
}

// draw makes the next reading.
func (w *W1) draw() w1Reading {
	device := w.first + w.next
	base := splitmix(uint64(device))
	w.random ^= w.random << 13 // xorshift64 (Marsaglia 2003)
	w.random ^= w.random >> 7
	w.random ^= w.random << 17
	noise := w.random >> 11
	r := w1Reading{
		device: device, time: baseTime + w.round*1000,
		temperature: 1500 + base%980 + noise%20,
		humidity:    4000 + base>>12%1000 + noise>>16%30,
		pressure:    100000 + base>>24%1900 + noise>>32%40,
		battery:     310 + base>>36%110,
		status:      statuses[base>>48%uint64(len(statuses))],
	}
	if w.next++; w.next == w.devices {
		w.next = 0
		w.round++
	}
	return r
}

// Append implements Workload.
func (w *W1) Append(dst []byte, packetID uint16, qos byte, v5 bool) []byte {
	if w.next == 0 {
		w.layouts = [2]*w1Layout{} // the time changes
	}
	r := w.draw()
	l := w.layouts[len(r.status)/4]
	if l == nil || l.qos != qos || l.v5 != v5 {
		l = w.layout(len(r.status), qos, v5)
		w.layouts[len(r.status)/4] = l
		putDigits(l.packet[l.time:], uint64(r.time), 13)
	}

	n := len(dst)
	dst = append(dst, l.packet...)
	p := dst[n:]
	putDigits(p[l.device:], uint64(r.device), w.digits)
	if qos > 0 {
		p[l.id], p[l.id+1] = byte(packetID>>8), byte(packetID)
	}
	putHundredths(p[l.temperature:], r.temperature, 2)
	putHundredths(p[l.humidity:], r.humidity, 2)
	putHundredths(p[l.pressure:], r.pressure, 4)
	putHundredths(p[l.battery:], r.battery, 1)
	copy(p[l.statusAt:], r.status)
	return dst
}

// AppendLine appends the next reading as a line of InfluxDB's line protocol, with
// milliseconds; without the status for a database that holds numbers only.
func (w *W1) AppendLine(dst []byte, status bool) []byte {
	r := w.draw()
	dst = append(dst, "env,plant=p03,line=l2,device=d"...)
	dst = appendDigits(dst, uint64(r.device), w.digits)
	for _, f := range [...]struct {
		name  string
		value uint64
	}{{" temperature=", r.temperature}, {",humidity=", r.humidity}, {",pressure=", r.pressure}, {",battery=", r.battery}} {
		dst = append(dst, f.name...)
		dst = strconv.AppendUint(dst, f.value/100, 10)
		dst = append(dst, '.', byte('0'+f.value/10%10), byte('0'+f.value%10))
	}
	if status {
		dst = append(append(append(dst, ",status=\""...), r.status...), '"')
	}
	dst = strconv.AppendInt(append(dst, ' '), r.time, 10)
	return append(dst, '\n')
}

func putDigits(dst []byte, v uint64, digits int) {
	for i := digits - 1; i >= 0; i-- {
		dst[i] = byte('0' + v%10)
		v /= 10
	}
}

func putHundredths(dst []byte, v uint64, whole int) {
	putDigits(dst, v/100, whole)
	dst[whole+1] = byte('0' + v/10%10)
	dst[whole+2] = byte('0' + v%10)
}

func appendDigits(dst []byte, v uint64, digits int) []byte {
	n := len(dst)
	dst = append(dst, "00000000000000000000"[:digits]...)
	putDigits(dst[n:], v, digits)
	return dst
}

func appendPublishHeader(dst []byte, topicLen, payloadLen int, qos byte, v5 bool) []byte {
	remaining := 2 + topicLen + payloadLen
	if qos > 0 {
		remaining += 2
	}
	if v5 {
		remaining++
	}
	dst = append(dst, 3<<4|qos<<1)
	for remaining >= 0x80 {
		dst = append(dst, byte(remaining)|0x80)
		remaining >>= 7
	}
	return append(dst, byte(remaining), byte(topicLen>>8), byte(topicLen))
}

func appendPublishMiddle(dst []byte, packetID uint16, qos byte, v5 bool) []byte {
	if qos > 0 {
		dst = append(dst, byte(packetID>>8), byte(packetID))
	}
	if v5 {
		dst = append(dst, 0)
	}
	return dst
}

// W2 is the wide workload: 200 schemas of 1 to 40 fields, full-precision
// doubles, bare values where a schema has one field, 1% of the messages invalid,
// 5% late by up to an hour, 1% repeated.
type W2 struct {
	series   int
	next     int
	round    int64
	random   uint64
	numbers  [][]byte // full-precision doubles as text
	topic    []byte
	payload  []byte
	previous []byte // topic and payload of the last timed message
	cut      int
}

// W2Schemas is how many schemas W2 uses.
const W2Schemas = 200

// NewW2 returns the workload for that many series.
func NewW2(series int, seed uint64) *W2 {
	w := &W2{series: series, random: splitmix(seed)}
	for i := range 1 << 14 {
		v := float64(splitmix(uint64(i)^seed)>>11) / (1 << 53) * 1000
		w.numbers = append(w.numbers, strconv.AppendFloat(nil, v, 'g', -1, 64))
	}
	return w
}

// w2Fields returns how many fields schema k has.
func w2Fields(k int) int { return 1 + k%40 }

// WriteSchemas implements Workload.
func (w *W2) WriteSchemas(dir string) error {
	for k := range W2Schemas {
		doc := fmt.Sprintf("name: m%03d\nversion: 1\ntopic: w2/m%03d/{device}\n", k, k)
		if w2Fields(k) == 1 {
			doc += "format: value\npayload: {type: number, minimum: 0}\n"
		} else {
			doc += "format: json\ntime: {at: /ts, as: unix_ms}\npayload:\n  type: object\n  required: [ts, f01]\n  properties:\n    ts: {type: integer}\n"
			for f := 1; f <= w2Fields(k); f++ {
				doc += fmt.Sprintf("    f%02d: {type: number, minimum: 0}\n", f)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("m%03d.yaml", k)), []byte(doc), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// Filters implements Workload.
func (w *W2) Filters() []string { return []string{"w2/#"} }

func (w *W2) rand() uint64 {
	w.random ^= w.random << 13
	w.random ^= w.random >> 7
	w.random ^= w.random << 17
	return w.random
}

// Append implements Workload.
func (w *W2) Append(dst []byte, packetID uint16, qos byte, v5 bool) []byte {
	if r := w.rand() % 100; r == 0 && w.cut > 0 { // 1% repeated
		return w.publish(dst, w.previous[:w.cut], w.previous[w.cut:], packetID, qos, v5)
	}
	series := w.next
	if w.next++; w.next == w.series {
		w.next = 0
		w.round++
	}
	k := series % W2Schemas
	w.topic = append(w.topic[:0], "w2/m"...)
	w.topic = appendDigits(w.topic, uint64(k), 3)
	w.topic = append(w.topic, "/d"...)
	w.topic = appendDigits(w.topic, uint64(series/W2Schemas), 7)

	invalid := w.rand()%100 == 0
	w.payload = w.payload[:0]
	if w2Fields(k) == 1 {
		if invalid {
			w.payload = append(w.payload, '-')
		}
		w.payload = append(w.payload, w.number()...)
		return w.publish(dst, w.topic, w.payload, packetID, qos, v5)
	}
	ts := baseTime + w.round*1000
	if w.rand()%20 == 0 { // 5% late
		ts -= int64(w.rand() % 3_600_000)
	}
	w.payload = append(w.payload, `{"ts":`...)
	w.payload = strconv.AppendInt(w.payload, ts, 10)
	for f := 1; f <= w2Fields(k); f++ {
		w.payload = append(w.payload, `,"f`...)
		w.payload = appendDigits(w.payload, uint64(f), 2)
		w.payload = append(w.payload, '"', ':')
		if invalid && f == 1 {
			w.payload = append(w.payload, '-')
		}
		w.payload = append(w.payload, w.number()...)
	}
	w.payload = append(w.payload, '}')
	if !invalid {
		w.previous = append(append(w.previous[:0], w.topic...), w.payload...)
		w.cut = len(w.topic)
	}
	return w.publish(dst, w.topic, w.payload, packetID, qos, v5)
}

func (w *W2) number() []byte { return w.numbers[w.rand()%uint64(len(w.numbers))] }

func (w *W2) publish(dst, topic, payload []byte, packetID uint16, qos byte, v5 bool) []byte {
	dst = appendPublishHeader(dst, len(topic), len(payload), qos, v5)
	dst = append(dst, topic...)
	dst = appendPublishMiddle(dst, packetID, qos, v5)
	return append(dst, payload...)
}
