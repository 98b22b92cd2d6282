// Package powercut turns a recording of the file writes of a running program
// into the disks that a power cut could have left behind.
//
// The recording is made by strace, so that the program is the real one, with
// nothing built in. A disk after a cut holds every write that a finished fsync
// of its file covers; of the writes after that it holds any subset, and of one
// of them perhaps only some sectors. A file's name is safe once the file or its
// directory was synced; renaming and unlinking are safe once the directory was.
// This is what POSIX leaves open and ext4, xfs and btrfs keep.
package powercut

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// Kind is what an event did.
type Kind int

// The kinds of events.
const (
	Create   Kind = iota // Path exists, empty if Truncate
	Write                // Data at Offset of Path
	Truncate             // Path is Size bytes long
	Sync                 // Path (a file or a directory) is synced
	Rename               // Path is now To
	Unlink               // Path is gone
	Mkdir                // Path is a directory
	Send                 // Data went to a socket
)

// Event is one system call that matters. Start and End are positions in the
// recording: what ended before another started happened before it.
type Event struct {
	Kind       Kind
	Path, To   string
	Offset     int64
	Size       int64
	Data       []byte
	Start, End int
}

// StraceArgs are the arguments for strace that make a recording which Parse
// reads; the program and its arguments follow.
func StraceArgs(output string) []string {
	return []string{
		"--seccomp-bpf", "-f", "-qq", "-y", "-xx", "-s", "4194304", "-o", output,
		"-e", "trace=openat,open,creat,write,pwrite64,writev,pwritev,pwritev2,lseek,fsync,fdatasync,sync_file_range,ftruncate,truncate,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,link,linkat,fallocate,sendto,sendmsg",
	}
}

type pending struct {
	text  string
	start int
}

type parser struct {
	root     string
	events   []Event
	position map[string]int64 // of files written with plain write, by path
	appends  map[string]bool
	length   map[string]int64
}

// Parse reads a recording. Files outside root are left out.
func Parse(r io.Reader, root string) ([]Event, error) {
	p := &parser{root: root, position: map[string]int64{}, appends: map[string]bool{}, length: map[string]int64{}}
	unfinished := map[string]pending{}
	lines := bufio.NewReaderSize(r, 1<<20)
	for n := 0; ; n++ {
		line, err := lines.ReadString('\n')
		if line = strings.TrimRight(line, "\n"); line != "" {
			thread, call, _ := strings.Cut(line, " ")
			call = strings.TrimLeft(call, " ")
			start := n
			switch {
			case strings.HasSuffix(call, "<unfinished ...>"):
				unfinished[thread] = pending{strings.TrimSuffix(call, "<unfinished ...>"), n}
				call = ""
			case strings.HasPrefix(call, "<... "):
				before, ok := unfinished[thread]
				if !ok {
					return nil, fmt.Errorf("line %d: a call is resumed that was not begun", n+1)
				}
				delete(unfinished, thread)
				_, after, _ := strings.Cut(call, "resumed>")
				call, start = strings.TrimRight(before.text, " ")+after, before.start
			}
			if call != "" {
				if e := p.call(call, start, n); e != nil {
					return nil, fmt.Errorf("line %d: %w: %.200s", n+1, e, call)
				}
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	// Calls that never returned may have happened: they are writes like others
	// that no sync covers.
	for _, u := range unfinished {
		if strings.HasPrefix(u.text, "pwrite64(") || strings.HasPrefix(u.text, "write(") {
			if err := p.call(u.text+") = 0", u.start, 1<<30); err != nil {
				return nil, err
			}
		}
	}
	return p.events, nil
}

// call handles one whole call, as `pwrite64(7</d/f>, "\x00", 1, 0) = 1`.
func (p *parser) call(text string, start, end int) error {
	name, rest, ok := strings.Cut(text, "(")
	if !ok || strings.HasPrefix(text, "+++") || strings.HasPrefix(text, "---") {
		return nil
	}
	at := strings.LastIndex(rest, ") = ")
	if at < 0 {
		if at = strings.LastIndex(rest, ")"); at < 0 || !strings.Contains(rest[at:], "=") {
			return nil // the program ended inside the call
		}
	}
	args, result := splitArgs(rest[:at]), strings.TrimLeft(rest[at+1:], " =")
	if strings.HasPrefix(result, "-1") || strings.HasPrefix(result, "?") {
		return nil
	}
	add := func(e Event) {
		e.Start, e.End = start, end
		p.events = append(p.events, e)
	}
	inside := func(path string) bool {
		return path == p.root || strings.HasPrefix(path, p.root+"/")
	}
	switch name {
	case "openat", "open", "creat":
		path := annotation(result)
		flags := strings.Join(args, ",")
		if !inside(path) || !strings.Contains(flags, "O_CREAT") && !strings.Contains(flags, "O_TRUNC") && name != "creat" {
			return nil
		}
		p.position[path] = 0
		p.appends[path] = strings.Contains(flags, "O_APPEND")
		add(Event{Kind: Create, Path: path})
		if strings.Contains(flags, "O_TRUNC") {
			add(Event{Kind: Truncate, Path: path})
			p.length[path] = 0
		}
	case "pwrite64", "write":
		path := annotation(args[0])
		if strings.HasPrefix(path, "socket:") || strings.HasPrefix(path, "TCP:") {
			add(Event{Kind: Send, Path: path, Data: unhex(args[1])})
			return nil
		}
		if !inside(path) {
			return nil
		}
		data := unhex(args[1])
		n, err := strconv.ParseInt(strings.Fields(result)[0], 10, 64)
		if err != nil {
			return err
		}
		if end < 1<<30 {
			if int(n) > len(data) {
				return fmt.Errorf("%d bytes were written and %d recorded", n, len(data))
			}
			data = data[:n]
		}
		offset := p.position[path]
		switch {
		case name == "pwrite64":
			if offset, err = strconv.ParseInt(args[3], 10, 64); err != nil {
				return err
			}
		case p.appends[path]:
			offset = p.length[path]
			fallthrough
		default:
			p.position[path] = offset + int64(len(data))
		}
		p.length[path] = max(p.length[path], offset+int64(len(data)))
		add(Event{Kind: Write, Path: path, Offset: offset, Data: data})
	case "lseek":
		if path := annotation(args[0]); inside(path) {
			to, err := strconv.ParseInt(strings.Fields(result)[0], 10, 64)
			if err != nil {
				return err
			}
			p.position[path] = to
		}
	case "fsync", "fdatasync":
		if path := annotation(args[0]); inside(path) {
			add(Event{Kind: Sync, Path: path})
		}
	case "ftruncate":
		if path := annotation(args[0]); inside(path) {
			size, err := strconv.ParseInt(args[1], 10, 64)
			if err != nil {
				return err
			}
			p.length[path] = size
			add(Event{Kind: Truncate, Path: path, Size: size})
		}
	case "fallocate":
		// Only reserves blocks in the modes that stores use; the size may grow.
		path := annotation(args[0])
		if !inside(path) || strings.Contains(args[1], "KEEP_SIZE") {
			return nil
		}
		offset, _ := strconv.ParseInt(args[2], 10, 64)
		length, _ := strconv.ParseInt(args[3], 10, 64)
		if offset+length > p.length[path] {
			p.length[path] = offset + length
			add(Event{Kind: Truncate, Path: path, Size: offset + length})
		}
	case "rename", "renameat", "renameat2":
		from, to := pathArg(args, 0, name), pathArg(args, 1, name)
		if inside(from) && inside(to) {
			p.length[to], p.position[to], p.appends[to] = p.length[from], p.position[from], p.appends[from]
			add(Event{Kind: Rename, Path: from, To: to})
		}
	case "unlink", "unlinkat":
		if path := pathArg(args, 0, name); inside(path) {
			add(Event{Kind: Unlink, Path: path})
		}
	case "mkdir", "mkdirat":
		if path := pathArg(args, 0, name); inside(path) {
			add(Event{Kind: Mkdir, Path: path})
		}
	case "writev", "pwritev", "pwritev2", "link", "linkat", "truncate":
		for _, a := range args {
			if path := annotation(a); inside(path) {
				return fmt.Errorf("%s on a recorded file is not understood", name)
			}
		}
	}
	return nil
}

// pathArg returns the i-th path of a call; the *at calls have a directory
// descriptor before each.
func pathArg(args []string, i int, name string) string {
	dir := ""
	if strings.Contains(name, "at") && name != "creat" {
		dir = annotation(args[2*i])
		i = 2*i + 1
	}
	path := string(unhex(args[i]))
	if !strings.HasPrefix(path, "/") {
		path = dir + "/" + path
	}
	return path
}

// annotation returns what strace -y says between < and > behind a descriptor; ""
// where it says that the file has lost its name: another may bear it by now.
func annotation(s string) string {
	_, rest, ok := strings.Cut(s, "<")
	if !ok {
		return ""
	}
	path, after, _ := strings.Cut(rest, ">")
	if strings.HasPrefix(after, "(deleted)") {
		return ""
	}
	if strings.HasPrefix(path, `\x`) { // -xx hides these too
		return string(unhex(path))
	}
	return path
}

// splitArgs splits at commas outside of quotes and brackets.
func splitArgs(s string) []string {
	var out []string
	depth, quoted, from := 0, false, 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quoted:
			quoted = c != '"'
		case c == '"':
			quoted = true
		case c == '[' || c == '{' || c == '<':
			depth++
		case c == ']' || c == '}' || c == '>':
			depth--
		case c == ',' && depth == 0:
			out = append(out, strings.TrimSpace(s[from:i]))
			from = i + 1
		}
	}
	return append(out, strings.TrimSpace(s[from:]))
}

// unhex decodes "\x00\x01" as strace -xx writes it.
func unhex(s string) []byte {
	s = strings.TrimSuffix(strings.TrimPrefix(s, `"`), `"`)
	out := make([]byte, 0, len(s)/4)
	for len(s) >= 4 && s[0] == '\\' && s[1] == 'x' {
		v, err := strconv.ParseUint(s[2:4], 16, 8)
		if err != nil {
			break
		}
		out = append(out, byte(v))
		s = s[4:]
	}
	return out
}

// ParseFile is Parse of a file.
func ParseFile(name, root string) ([]Event, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return Parse(f, root)
}
