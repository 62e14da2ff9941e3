// The least of a protobuf reader: a message as its fields, by number. Enough to read what an exporter sends; it
// writes nothing and knows no schema.
const VARINT = 0;
const FIXED64 = 1;
const BYTES = 2;
const FIXED32 = 5;

function readVarint(bytes, start) {
  let value = 0n;
  for (let offset = start, shift = 0n; ; offset += 1, shift += 7n) {
    if (offset >= bytes.length) throw new Error('a protobuf message ends within a number');
    value |= BigInt(bytes[offset] & 0x7f) << shift;
    if (bytes[offset] < 0x80) return { value, next: offset + 1 };
  }
}

function sizeOf(wireType, bytes, start) {
  switch (wireType) {
    case FIXED64: return { size: 8, next: start };
    case FIXED32: return { size: 4, next: start };
    case BYTES: {
      const { value, next } = readVarint(bytes, start);
      return { size: Number(value), next };
    }
    default: throw new Error(`protobuf wire type ${wireType}`);
  }
}

// All fields in order: [number, value], the value a BigInt for a varint and bytes for all else.
export function fields(bytes) {
  const found = [];
  for (let offset = 0; offset < bytes.length; ) {
    const { value: tag, next: start } = readVarint(bytes, offset);
    const number = Number(tag >> 3n);
    const wireType = Number(tag & 7n);
    if (wireType === VARINT) {
      const { value, next } = readVarint(bytes, start);
      found.push([number, value]);
      offset = next;
    } else {
      const { size, next } = sizeOf(wireType, bytes, start);
      if (next + size > bytes.length) throw new Error('a protobuf message ends within a field');
      found.push([number, bytes.subarray(next, next + size)]);
      offset = next + size;
    }
  }
  return found;
}

export function each(bytes, number) {
  return fields(bytes).filter(([found]) => found === number).map(([, value]) => value);
}

export function first(bytes, number) {
  return each(bytes, number)[0];
}
