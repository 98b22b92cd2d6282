package command

import (
	"bufio"
	"strings"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// confirm asks whether to go on. The error says what was not done.
func (e *Env) confirm(op, question, refusal string) error {
	if err := e.printf("%s [y/N] ", question); err != nil {
		return err
	}
	answer, _ := bufio.NewReader(e.In).ReadString('\n') // no answer is a no
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return telemetry.Errorf(telemetry.CodeInvalid, op, "%s", refusal).WithHint("answer y, or give --yes")
}
