// Finds words in a text that the page holds in parts.

// Letter by letter, as some letters become two when lower-cased, and indices would shift.
function toLower(text) {
  return Array.from({ length: text.length }, (_, at) => {
    const lower = text[at].toLowerCase();
    return lower.length === 1 ? lower : text[at];
  }).join("");
}

// Where `words` stand in the `texts` taken together, upper and lower case alike: [[part, offset] of the first letter,
// [part, offset] behind the last one] each.
export function findWords(texts, words) {
  const wanted = words.trim().toLowerCase();
  if (!wanted) return [];
  const starts = [];
  let length = 0;
  for (const text of texts) { starts.push(length); length += text.length; }
  const whole = toLower(texts.join(""));
  const locate = (at) => {
    let low = 0, high = texts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (starts[middle] <= at) low = middle; else high = middle - 1;
    }
    return [low, at - starts[low]];
  };
  const found = [];
  for (let at = whole.indexOf(wanted); at >= 0; at = whole.indexOf(wanted, at + wanted.length)) {
    const [last, offset] = locate(at + wanted.length - 1);
    found.push([locate(at), [last, offset + 1]]);
  }
  return found;
}
