package e2e

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
	paho3 "github.com/eclipse/paho.mqtt.golang"

	"github.com/weir-telemetry/weir/internal/testkit"
)

const eachQoS = 200 // messages

// pahoMessages are what both libraries publish: some of every quality of service
// and one that no schema takes. Sequence numbers tell where each came from.
func pahoMessages(client string) (topics []string, payloads [][]byte, qos []byte) {
	for i := range 3 * eachQoS {
		topic, payload, _ := timed(client, 3*eachQoS)(i)
		topics, payloads, qos = append(topics, topic), append(payloads, payload), append(qos, byte(i%3))
	}
	return append(topics, "t/"+client+"/timed"), append(payloads, []byte(`{"ts":"no","seq":-1}`)), append(qos, 1)
}

// wantReadings asks for what a client has published.
func wantReadings(t *testing.T, p *place, client string) {
	t.Helper()
	count := fmt.Sprintf("select count(*) from timed where client = '%s'", client)
	// QoS 0 has no acknowledgement to wait for; what came earlier on the same
	// connection was acknowledged after its commit.
	testkit.Eventually(t, "the messages of QoS 0 are readings", func() bool { return p.number(count) >= 3*eachQoS })
	rows := p.rows(fmt.Sprintf("select seq, time, _topic from timed where client = '%s' order by seq", client))
	if len(rows) != 3*eachQoS {
		t.Fatalf("%d readings, want %d", len(rows), 3*eachQoS)
	}
	for i, row := range rows {
		at := time.UnixMilli(1_750_000_000_000 + int64(i)).UTC().Format("2006-01-02T15:04:05.000000000Z")
		if want := []string{strconv.Itoa(i), at, "t/" + client + "/timed"}; !slices.Equal(row, want) {
			t.Fatalf("reading %d is %q, want %q", i, row, want)
		}
	}
	if out := p.must("quarantine", "list", "--topic", "t/"+client+"/#"); !contains(out, "invalid", `-1`) {
		t.Errorf("the message that no schema takes: %s", out)
	}
}

func TestPahoOfMQTT5PublishesAndTheRowsComeOut(t *testing.T) {
	p := newPlace(t, map[string]string{"timed.yaml": timedSchema})
	r := p.serve()
	ctx := deadline(t)
	server, err := url.Parse("mqtt://" + r.broker)
	if err != nil {
		t.Fatal(err)
	}
	c, err := autopaho.NewConnection(ctx, autopaho.ClientConfig{
		ServerUrls: []*url.URL{server}, KeepAlive: 30, SessionExpiryInterval: 60,
		ClientConfig: paho.ClientConfig{ClientID: "five"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.AwaitConnection(ctx); err != nil {
		t.Fatal(err)
	}
	topics, payloads, qos := pahoMessages("five")
	for i := range topics {
		answer, err := c.Publish(ctx, &paho.Publish{
			Topic: topics[i], Payload: payloads[i], QoS: qos[i],
			Properties: &paho.PublishProperties{ContentType: "application/json", User: paho.UserProperties{{Key: "k", Value: "v"}}},
		})
		if err != nil || answer != nil && answer.ReasonCode >= 0x80 {
			t.Fatalf("publish %d at QoS %d: %+v, %v", i, qos[i], answer, err)
		}
	}
	if err := c.Disconnect(ctx); err != nil {
		t.Error(err)
	}
	wantReadings(t, p, "five")
}

func TestPahoOfMQTT3PublishesWithoutWaitingAndTheRowsComeOut(t *testing.T) {
	p := newPlace(t, map[string]string{"timed.yaml": timedSchema})
	r := p.serve()
	o := paho3.NewClientOptions().AddBroker("tcp://" + r.broker).SetClientID("three").SetProtocolVersion(4).
		SetCleanSession(false).SetConnectTimeout(patience)
	c := paho3.NewClient(o)
	wait := func(what string, token paho3.Token) {
		t.Helper()
		if !token.WaitTimeout(patience) || token.Error() != nil {
			t.Fatalf("%s: %v", what, token.Error())
		}
	}
	wait("connect", c.Connect())
	topics, payloads, qos := pahoMessages("three")
	tokens := make([]paho3.Token, len(topics))
	for i := range topics { // hundreds in flight, acknowledged by the commit that holds them
		tokens[i] = c.Publish(topics[i], qos[i], false, payloads[i])
	}
	for i, token := range tokens {
		wait(fmt.Sprintf("message %d at QoS %d", i, qos[i]), token)
	}
	c.Disconnect(250)
	wantReadings(t, p, "three")
}

func TestWhatPahoWasToldIsStoredOutlivesAKill(t *testing.T) {
	p := newPlace(t, map[string]string{"bare.yaml": bareSchema})
	r := p.serve()
	c := paho3.NewClient(paho3.NewClientOptions().AddBroker("tcp://" + r.broker).SetClientID("killed").SetAutoReconnect(false))
	if token := c.Connect(); !token.WaitTimeout(patience) || token.Error() != nil {
		t.Fatal(token.Error())
	}
	const n = 100
	for i := range n {
		if token := c.Publish("t/killed/bare", 1+byte(i%2), false, fmt.Appendf(nil, `{"seq":%d}`, i)); !token.WaitTimeout(patience) || token.Error() != nil {
			t.Fatalf("message %d: %v", i, token.Error())
		}
	}
	r.kill()
	c.Disconnect(0)
	if got := p.number("select count(distinct seq) from bare"); got != n {
		t.Errorf("%d of %d acknowledged messages are there after a kill", got, n)
	}
	if got := p.number("select count(*) from bare"); got != n {
		t.Errorf("%d rows of %d messages", got, n)
	}
}
