// A canvas that shows an image as large as fits, with zoom by wheel and pan by dragging.

const CLICK = 5; // pixels that a click may move
const LARGEST_ZOOM = 12;

export class Stage {
  // `paint(context, stage)` draws over the image, in pixels of the page; `click([x, y])` gets a
  // point in pixels of the image.
  constructor(panel, paint, click = null) {
    this.panel = panel;
    this.paint = paint;
    this.click = click;
    this.canvas = document.createElement("canvas");
    panel.prepend(this.canvas);
    this.image = null;
    this.reset();
    new ResizeObserver(() => this.draw()).observe(panel);
    this.listen();
  }

  reset() {
    this.zoom = 1;
    this.center = null;
  }

  show(image, size = null) {
    const width = size ? size.width : image.width;
    const height = size ? size.height : image.height;
    this.image = image;
    this.size = { width, height };
    this.reset();
    this.panel.querySelector(".drop").hidden = true;
    this.draw();
  }

  clear() {
    this.image = null;
    this.panel.querySelector(".drop").hidden = false;
    this.draw();
  }

  // Show a point in the middle, so that about `pixels` of the image are visible around it.
  focus(point, pixels) {
    const fit = this.fit();
    this.zoom = Math.max(1, Math.min(LARGEST_ZOOM, Math.min(fit.width, fit.height) / (pixels * fit.scale)));
    this.center = [...point];
    this.draw();
  }

  fit() {
    const width = this.panel.clientWidth, height = this.panel.clientHeight;
    const scale = Math.min(width / this.size.width, height / this.size.height);
    return { width, height, scale };
  }

  // Scale and offset from pixels of the image to those of the page.
  view() {
    const { width, height, scale: fitted } = this.fit();
    const scale = fitted * this.zoom;
    const center = this.center || [this.size.width / 2, this.size.height / 2];
    const offset = [width, height].map((room, axis) => {
      const length = (axis ? this.size.height : this.size.width) * scale;
      if (length <= room) return (room - length) / 2;
      return Math.max(room - length, Math.min(0, room / 2 - center[axis] * scale));
    });
    return { scale, offset };
  }

  toPage([x, y]) {
    const { scale, offset } = this.view();
    return [x * scale + offset[0], y * scale + offset[1]];
  }

  toImage([x, y]) {
    const { scale, offset } = this.view();
    return [(x - offset[0]) / scale, (y - offset[1]) / scale];
  }

  // Edges of the visible part of the image, in pixels of the page.
  limits() {
    const [left, top] = this.toPage([0, 0]);
    const [right, bottom] = this.toPage([this.size.width, this.size.height]);
    return {
      left: Math.max(0, left), top: Math.max(0, top),
      right: Math.min(this.panel.clientWidth, right),
      bottom: Math.min(this.panel.clientHeight, bottom),
    };
  }

  draw() {
    const ratio = window.devicePixelRatio || 1;
    const { clientWidth: width, clientHeight: height } = this.panel;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    if (!this.image || !width || !height) return;
    const context = this.canvas.getContext("2d");
    context.scale(ratio, ratio);
    context.imageSmoothingQuality = "high";
    this.paint(context, this);
  }

  // Run `layer(context)` in pixels of the image.
  inImage(context, layer) {
    const { scale, offset } = this.view();
    context.save();
    context.translate(...offset);
    context.scale(scale, scale);
    layer(context, this.size.width, this.size.height);
    context.restore();
  }

  place(event) {
    const box = this.canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  listen() {
    let start = null, moved = false;
    this.canvas.addEventListener("pointerdown", (event) => {
      if (!this.image || event.button) return;
      start = { at: this.place(event), center: this.toImage([this.panel.clientWidth / 2, this.panel.clientHeight / 2]) };
      moved = false;
      this.canvas.setPointerCapture(event.pointerId);
    });
    this.canvas.addEventListener("pointermove", (event) => {
      if (!start) return;
      const [x, y] = this.place(event);
      const [dx, dy] = [x - start.at[0], y - start.at[1]];
      moved ||= Math.hypot(dx, dy) > CLICK;
      if (moved && this.zoom > 1) {
        const { scale } = this.view();
        this.center = [start.center[0] - dx / scale, start.center[1] - dy / scale];
        this.draw();
      }
    });
    this.canvas.addEventListener("pointerup", (event) => {
      const clicked = start && !moved;
      start = null;
      if (!clicked || !this.click) return;
      const [x, y] = this.toImage(this.place(event));
      if (x >= 0 && y >= 0 && x <= this.size.width && y <= this.size.height) this.click([x, y]);
    });
    this.canvas.addEventListener("wheel", (event) => {
      if (!this.image) return;
      event.preventDefault();
      const at = this.place(event);
      const [x, y] = this.toImage(at);
      this.zoom = Math.max(1, Math.min(LARGEST_ZOOM, this.zoom * Math.exp(-event.deltaY / 400)));
      const scale = this.fit().scale * this.zoom;
      this.center = [
        x + (this.panel.clientWidth / 2 - at[0]) / scale,
        y + (this.panel.clientHeight / 2 - at[1]) / scale,
      ];
      this.draw();
    }, { passive: false });
  }
}
