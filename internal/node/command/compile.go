package command

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"os"

	"github.com/weir-telemetry/weir/internal/device/record"
	"github.com/weir-telemetry/weir/internal/schema"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// CompileOptions says what SchemaCompile writes.
type CompileOptions struct {
	File string
	Out  string // "" : only look
	Form string // bin or c
	Sign string // a file with an Ed25519 private key, "" for none
}

// SchemaCompile makes the binary plan of a document for a device, signed if asked
// (docs/format/plan.md). What a device cannot run is told all at once.
func SchemaCompile(e *Env, o CompileOptions) error {
	const op = "compile schema"
	document, err := os.ReadFile(o.File)
	if err != nil {
		return telemetry.Errorf(telemetry.CodeNotFound, op, "%v", err)
	}
	var key ed25519.PrivateKey
	if o.Sign != "" {
		if key, err = signingKey(o.Sign); err != nil {
			return err
		}
	}
	plan, bin, problems := schema.CompileDevice(o.File, document)
	for _, p := range problems {
		if _, err := fmt.Fprintln(e.Err, p.Error()); err != nil {
			return err
		}
	}
	if len(problems) > 0 {
		return telemetry.Errorf(telemetry.CodeInvalid, op, "%d problem(s): a device does not run %s", len(problems), o.File)
	}
	id := schema.DevicePlanID(bin)
	if err := e.printf("%s version %d: plan of %d bytes, id %x, records of at most %d bytes\n", plan.Name(), plan.Version(), len(bin), id, record.BodyMax(bin)); err != nil {
		return err
	}
	data := bin
	if key != nil {
		public := key.Public().(ed25519.PublicKey)
		data = record.Sign(bin, key)
		if err := e.printf("signed, %d bytes, key id %x, public key %s\n", len(data), record.KeyID(public), hex.EncodeToString(public)); err != nil {
			return err
		}
	}
	if o.Out == "" {
		return nil
	}
	if o.Form == "c" {
		data = cArray(plan.Name(), plan.Version(), data)
	}
	if err := os.WriteFile(o.Out, data, 0o644); err != nil {
		return telemetry.Errorf(telemetry.CodeUnavailable, op, "%v", err)
	}
	return nil
}

// signingKey reads an Ed25519 private key in PKCS #8 and PEM, as `openssl genpkey
// -algorithm ed25519` writes it.
func signingKey(file string) (ed25519.PrivateKey, error) {
	const op = "read signing key"
	const hint = "openssl genpkey -algorithm ed25519 -out schema-key.pem makes one"
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, telemetry.Errorf(telemetry.CodeNotFound, op, "%v", err).WithHint(hint)
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, telemetry.Errorf(telemetry.CodeInvalid, op, "%s is not PEM", file).WithHint(hint)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, telemetry.Errorf(telemetry.CodeInvalid, op, "%s: %v", file, err).WithHint(hint)
	}
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, telemetry.Errorf(telemetry.CodeInvalid, op, "%s holds a key of another kind than Ed25519", file).WithHint(hint)
	}
	return key, nil
}

// cArray writes bytes as a C source, to be linked into a firmware.
func cArray(name string, version int, data []byte) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "/* Schema %s version %d, made by weir schema compile --target mcu. */\n#include <stdint.h>\n\n", name, version)
	fmt.Fprintf(&b, "const uint32_t weir_schema_%s_size = %d;\nconst uint8_t weir_schema_%s[%d] = {", name, len(data), name, len(data))
	for i, c := range data {
		if i%16 == 0 {
			b.WriteString("\n   ")
		}
		fmt.Fprintf(&b, " 0x%02x,", c)
	}
	b.WriteString("\n};\n")
	return b.Bytes()
}
