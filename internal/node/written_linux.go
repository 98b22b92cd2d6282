package node

import (
	"bufio"
	"os"
	"strconv"
	"strings"
)

// processWritten is how many bytes this process caused to be sent to the storage
// layer (proc_pid_io(5), write_bytes).
func processWritten() (int64, bool) {
	f, err := os.Open("/proc/self/io")
	if err != nil {
		return 0, false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), "write_bytes: "); ok {
			n, err := strconv.ParseInt(value, 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}
