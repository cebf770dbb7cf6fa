// Small mathematics that several components need.
export function clamp(value, low, high) {
  return Math.max(low, Math.min(high, value));
}

// Red, green and blue, 0 to 255, of "#rrggbb".
export function channelsOf(color) {
  return [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
}
