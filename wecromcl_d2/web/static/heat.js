// Activation maps: from a gray PNG of cells to a glow over the image.

// OpenCV's inferno, every 15th level.
const INFERNO = [
  [0, 0, 4], [10, 7, 34], [30, 12, 69], [56, 9, 98], [81, 14, 108], [105, 22, 110], [128, 31, 108],
  [152, 39, 102], [176, 49, 91], [198, 61, 77], [217, 77, 61], [233, 97, 43], [244, 121, 24],
  [250, 148, 7], [252, 176, 20], [248, 205, 55], [242, 234, 105], [252, 255, 164],
];
const LONGEST = 900; // pixels of a glow
const OPACITY = 0.92;

function infernoAt(level) {
  const place = level * (INFERNO.length - 1);
  const low = Math.min(Math.floor(place), INFERNO.length - 2);
  return INFERNO[low].map((value, i) => value + (INFERNO[low + 1][i] - value) * (place - low));
}

// From the word's own hue to white at the peak.
function tintAt(level, hue) {
  return hue.map((value) => value + (255 - value) * Math.max(0, level - 0.6) * 2);
}

// Hues that stay apart for neighbouring words.
export function hueOf(index) {
  const angle = (index * 137.5 + 28) % 360;
  const channel = (n) => {
    const k = (n + angle / 30) % 12;
    return 255 * (0.6 - 0.4 * Math.max(-1, Math.min(k - 3, 9 - k, 1)));
  };
  return [channel(0), channel(8), channel(4)].map(Math.round);
}

export async function decodeMap(base64) {
  const image = new Image();
  image.src = `data:image/png;base64,${base64}`;
  await image.decode();
  return image;
}

// The map in at least the given width, doubled step by step, which leaves no edges of cells.
function enlarged(map, width) {
  let shown = map, [w, h] = [map.naturalWidth, map.naturalHeight];
  while (w < width) {
    const canvas = document.createElement("canvas");
    [w, h] = [canvas.width, canvas.height] = [2 * w, 2 * h];
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(shown, 0, 0, w, h);
    shown = canvas;
  }
  return shown;
}

// A canvas over the whole image; `hue` null for inferno.
export function glow(map, cellSize, size, hue = null) {
  const scale = LONGEST / Math.max(size.width, size.height);
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(size.width * scale));
  canvas.height = Math.max(1, Math.round(size.height * scale));
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const width = map.naturalWidth * cellSize[1] * scale;
  const height = map.naturalHeight * cellSize[0] * scale;
  context.drawImage(enlarged(map, width), 0, 0, width, height);
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
  const data = pixels.data;
  // Enlarged, a peak of one cell is lower than it was.
  let highest = 1;
  for (let i = 0; i < data.length; i += 4) highest = Math.max(highest, data[i]);
  // The PNG holds square roots; as opacities they keep low values around a sharp peak visible.
  const colors = Array.from({ length: highest + 1 }, (_, value) => {
    const root = value / highest;
    return [...(hue ? tintAt(root ** 2, hue) : infernoAt(root ** 2)), 255 * OPACITY * root];
  });
  for (let i = 0; i < data.length; i += 4) data.set(colors[data[i]], i);
  context.putImageData(pixels, 0, 0);
  return canvas;
}

// The image as a dark, nearly gray ground for glows.
export function drawDimmed(context, image, width, height) {
  context.save();
  context.drawImage(image, 0, 0, width, height);
  context.globalAlpha = 0.65;
  context.globalCompositeOperation = "saturation";
  context.fillStyle = "#808080";
  context.fillRect(0, 0, width, height);
  context.globalAlpha = 0.52;
  context.globalCompositeOperation = "source-over";
  context.fillStyle = "#07080c";
  context.fillRect(0, 0, width, height);
  context.restore();
}

// A cross with a dark rim at a point of the context's coordinates.
export function drawCross(context, x, y, arm, color = "#40e0ff") {
  context.save();
  context.lineCap = "round";
  for (const [style, width] of [["#0b0c10", arm * 0.62], [color, arm * 0.3]]) {
    context.strokeStyle = style;
    context.lineWidth = width;
    context.beginPath();
    context.moveTo(x - arm, y - arm);
    context.lineTo(x + arm, y + arm);
    context.moveTo(x + arm, y - arm);
    context.lineTo(x - arm, y + arm);
    context.stroke();
  }
  context.restore();
}

// Text on a dark plate, above a point if there is room, else below it.
export function drawLabel(context, text, x, y, limits, color = "#eceef2", size = 14) {
  context.save();
  context.font = `600 ${size}px system-ui, sans-serif`;
  context.textBaseline = "middle";
  const width = context.measureText(text).width + size;
  const height = size * 1.6;
  const left = Math.max(limits.left, Math.min(x - width / 2, limits.right - width));
  const above = y - height - size * 0.9;
  const top = above >= limits.top ? above : y + size * 0.9;
  context.fillStyle = "#0b0c10d9";
  context.beginPath();
  context.roundRect(left, top, width, height, size * 0.45);
  context.fill();
  context.fillStyle = color;
  context.fillText(text, left + size / 2, top + height / 2 + 1);
  context.restore();
}
