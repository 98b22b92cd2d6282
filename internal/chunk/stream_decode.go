package chunk

import "encoding/binary"

// decodeStream fills dst from the stream at the front of src, through the
// transform, and returns what follows it.
func decodeStream(dst []uint64, src []byte, t transform) ([]byte, error) {
	if len(src) > 0 && src[0] == 0 && len(dst) > 0 {
		return decodeWhole(dst, src[1:], t)
	}
	return decodeGroups(dst, src, t)
}

func decodeGroups(dst []uint64, src []byte, t transform) ([]byte, error) {
	groups, n := binary.Uvarint(src)
	if n <= 0 {
		return nil, errShort
	}
	src = src[n:]
	for ; groups > 0; groups-- {
		rows, n := binary.Uvarint(src)
		if n <= 0 || n >= len(src) {
			return nil, errShort
		}
		if rows == 0 || rows > uint64(len(dst)) {
			return nil, errRows
		}
		kind := src[n]
		src = src[n+1:]
		var err error
		if src, err = decodeGroup(dst[:rows], src, kind, t); err != nil {
			return nil, err
		}
		dst = dst[rows:]
	}
	if len(dst) != 0 {
		return nil, errRows
	}
	return src, nil
}

func decodeGroup(dst []uint64, src []byte, kind byte, t transform) ([]byte, error) {
	predictor, pack := kind&15, kind>>4
	if predictor > predictSteps {
		return nil, errKind
	}
	r := reader{b: src}
	base, step, low := uint64(r.varint()), uint64(0), uint64(0)
	res := dst
	if predictor != predictFlat {
		step = uint64(r.varint())
	}
	switch predictor {
	case predictDelta:
		res = dst[1:]
	case predictDelta2:
		low = uint64(r.varint())
		if len(dst) < 2 {
			return nil, errRows
		}
		res = dst[2:]
	}
	if r.err != nil {
		return nil, r.err
	}
	src = r.b
	if pack == packNone {
		switch predictor {
		case predictDelta2:
			clear(res)
			t.secondDifferences(dst, base, step, low)
		case predictSteps:
			t.progression(dst, base, 0)
		default:
			t.progression(dst, base, step)
		}
		return src, nil
	}
	if predictor == predictFlat && pack == packRadix {
		if out, ok, err := t.radixTable(dst, src, base); ok {
			return out, err
		}
	}
	src, span, err := decodeResiduals(res, src, pack)
	if err != nil {
		return nil, err
	}
	switch predictor {
	case predictFlat:
		s := wholes.Get().(*wholeScratch)
		t.flat(dst, base, span, &s.table)
		wholes.Put(s)
	case predictLinear:
		for i := range dst {
			dst[i] += base
			base += step
		}
		t.each(dst)
	case predictDelta:
		at := base
		dst[0] = at
		for i := 1; i < len(dst); i++ {
			at += dst[i] + step
			dst[i] = at
		}
		t.each(dst)
	case predictDelta2:
		t.secondDifferences(dst, base, step, low)
	case predictSteps:
		for i := range dst {
			dst[i] = base + dst[i]*step
		}
		t.each(dst)
	}
	return src, nil
}

// secondDifferences turns the residuals from dst[2] on into values.
func (t transform) secondDifferences(dst []uint64, base, step, low uint64) {
	dst[0], dst[1] = base, base+step
	at, d := dst[1], step
	for i := 2; i < len(dst); i++ {
		d += dst[i] + low
		at += d
		dst[i] = at
	}
	t.each(dst)
}

// radixTable decodes digits through a table of all values where one pays.
func (t transform) radixTable(dst []uint64, src []byte, base uint64) (_ []byte, ok bool, _ error) {
	radix, n := binary.Uvarint(src)
	if n <= 0 || radix < 3 || radix > maxRadix || !t.tabled(radix-1, len(dst)) {
		return nil, false, nil
	}
	src = src[n:]
	r := radixOf(radix)
	size := ((len(dst)+r.digits-1)/r.digits*r.width + 7) / 8
	if size > len(src) {
		return nil, true, errShort
	}
	s := wholes.Get().(*wholeScratch)
	defer wholes.Put(s)
	t.fillTable(&s.table, base, radix-1)
	return src[size:], true, unpackDigits(dst, src[:size], r, &s.table)
}

// decodeResiduals fills res and returns what follows, and the greatest residual
// that there may be.
func decodeResiduals(res []uint64, src []byte, pack byte) (_ []byte, span uint64, _ error) {
	switch pack {
	case packNone:
		clear(res)
		return src, 0, nil
	case packBits:
		if len(src) == 0 {
			return nil, 0, errShort
		}
		width := uint(src[0])
		src = src[1:]
		if width == 0 || width > 64 {
			return nil, 0, errKind
		}
		size := (len(res)*int(width) + 7) / 8
		if size > len(src) {
			return nil, 0, errShort
		}
		unpackWidth(res, src[:size], width)
		return src[size:], ^uint64(0) >> (64 - width), nil
	case packRadix:
		radix, n := binary.Uvarint(src)
		if n <= 0 {
			return nil, 0, errShort
		}
		src = src[n:]
		if radix < 3 || radix > maxRadix {
			return nil, 0, errKind
		}
		r := radixOf(radix)
		size := ((len(res)+r.digits-1)/r.digits*r.width + 7) / 8
		if size > len(src) {
			return nil, 0, errShort
		}
		return src[size:], radix - 1, unpackDigits(res, src[:size], r, nil)
	case packHuffman, packTANS:
		size, n := binary.Uvarint(src)
		if n <= 0 || size > uint64(len(src)-n) {
			return nil, 0, errShort
		}
		return src[n+int(size):], 255, decodeCoded(res, src[n:n+int(size)], pack)
	}
	return nil, 0, errKind
}
