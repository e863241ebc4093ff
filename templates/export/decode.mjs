// From the outputs of the model in this folder to detections, in any JavaScript engine.

export const LEAST = 0.001; // score of a detection: compare it with the threshold of its label
export const OVERLAP = 0.55; // IoU above which the worse of two boxes of a label is removed
export const CANDIDATES = 300; // of a label, before that
export const MOST = 300; // detections
// Whether a box is the mean of the candidates of its label that overlap it, weighted by their scores; and the IoU with the
// box from which a candidate counts, and counts in full.
export const AVERAGE = true;
export const NO_VOTE = 0.75;
export const FULL_VOTE = 0.85;

function iou(a, b) {
  const w = Math.min(a[2], b[2]) - Math.max(a[0], b[0]);
  const h = Math.min(a[3], b[3]) - Math.max(a[1], b[1]);
  const inter = Math.max(w, 0) * Math.max(h, 0);
  const both = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]);
  return inter / Math.max(both - inter, 1e-12);
}

function mean(one, candidates) {
  let sum = 0;
  const box = [0, 0, 0, 0];
  for (const other of candidates) {
    const share = (iou(one.box, other.box) - NO_VOTE) / (FULL_VOTE - NO_VOTE);
    const vote = Math.min(Math.max(share, 0), 1) * other.score;
    sum += vote;
    other.box.forEach((value, k) => (box[k] += vote * value));
  }
  return sum > 0 ? { ...one, box: box.map((value) => value / sum) } : one;
}

// The detections {box, score, label}, the best first, with boxes xmin, ymin, xmax, ymax in pixels of an image of these
// sides: from boxes (anchors * 4) in shares of the image, and scores (anchors * labels), both flat.
export function select(boxes, scores, labels, width, height) {
  const found = [];
  for (let label = 0; label < labels; label++) {
    const some = [];
    for (let i = 0; i * labels < scores.length; i++) {
      const score = scores[i * labels + label];
      if (score > LEAST) some.push({ box: Array.from(boxes.slice(4 * i, 4 * i + 4)), score, label });
    }
    some.sort((a, b) => b.score - a.score);
    const kept = [];
    const candidates = some.slice(0, CANDIDATES);
    for (const one of candidates) {
      if (!kept.some((other) => iou(one.box, other.box) > OVERLAP)) kept.push(one);
    }
    found.push(...kept.map((one) => (AVERAGE ? mean(one, candidates) : one)));
  }
  found.sort((a, b) => b.score - a.score);
  const sides = [width, height, width, height];
  return found.slice(0, MOST).map((one) => ({ ...one, box: one.box.map((value, k) => value * sides[k]) }));
}
