package command

import "testing"

func TestSetValue(t *testing.T) {
	for _, c := range []struct{ key, line, want string }{
		{"broker.password_file", "  password_file: ./users  # who may", "  password_file: '/new'  # who may"},
		{"broker.password_file", `  password_file: "a b"`, "  password_file: '/new'"},
		{"sources[0].mqtt.key_file", "  - key_file: x.pem", "  - key_file: '/new'"},
		{"broker.tls.key_file", "  tls: {cert_file: a.crt, key_file: a.key}", "  tls: {cert_file: a.crt, key_file: '/new'}"},
		{"broker.tls.cert_file", "  tls: {cert_file: 'a, b', key_file: a.key}", "  tls: {cert_file: '/new', key_file: a.key}"},
		{"schemas", "schemas: .", "schemas: '/new'"},
		{"schemas", "other: schemas", ""},
	} {
		line := []byte(c.line)
		ok := setValue(&line, c.key, "/new")
		if ok != (c.want != "") || ok && string(line) != c.want {
			t.Errorf("%q: %v %q, want %q", c.line, ok, line, c.want)
		}
	}
}
