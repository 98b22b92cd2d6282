package command

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// progress is a bar on a terminal; elsewhere it shows nothing.
type progress struct {
	w     io.Writer // nil: nobody looks
	name  string
	began time.Time
	last  time.Time
	shown bool
}

// barEvery is how often the bar is drawn.
const barEvery = 200 * time.Millisecond

func newProgress(w io.Writer, name string) *progress {
	p := &progress{name: name, began: time.Now()}
	if f, ok := w.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			p.w = w
		}
	}
	return p
}

// show draws how much of total is done; total 0 is not known.
func (p *progress) show(done, total int64, what string) {
	if p.w == nil || time.Since(p.last) < barEvery {
		return
	}
	p.last, p.shown = time.Now(), true
	fmt.Fprintf(p.w, "\r%s\x1b[K", barText(p.name, done, total, time.Since(p.began), what))
}

// barText is one line: a bar, how much, and how long it will take.
func barText(name string, done, total int64, since time.Duration, what string) string {
	if total <= 0 {
		return fmt.Sprintf("%.30s  %s", name, what)
	}
	const width = 24
	share := min(float64(done)/float64(total), 1)
	full := int(share * width)
	text := fmt.Sprintf("%.30s [%s%s] %3.0f%%  %s", name, strings.Repeat("#", full), strings.Repeat(".", width-full), share*100, what)
	if share > 0.01 && share < 1 {
		left := time.Duration(float64(since) * (1 - share) / share)
		text += fmt.Sprintf("  %s left", left.Round(time.Second))
	}
	return text
}

func (p *progress) end() {
	if p.shown {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
