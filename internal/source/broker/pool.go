package broker

import "sync"

// Buffers are borrowed while bytes are in them, so that an idle connection has none.
var (
	readBuffers  = sync.Pool{New: func() any { b := make([]byte, readBufferSize); return &b }}
	writeBuffers = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}
)

func borrowRead() []byte { return *readBuffers.Get().(*[]byte) }

// returnRead gives a read buffer back; others than those of the pool are left to
// the collector.
func returnRead(b []byte) {
	if cap(b) == readBufferSize {
		b = b[:readBufferSize]
		readBuffers.Put(&b)
	}
}

func borrowWrite() []byte { return *writeBuffers.Get().(*[]byte) }

func returnWrite(b []byte) {
	if c := cap(b); c > 0 && c <= readBufferSize {
		b = b[:0]
		writeBuffers.Put(&b)
	}
}
