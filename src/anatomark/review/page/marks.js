// The landmarks drawn over the image: the reference's, the model's with its error bound, and the reviewer's.

export const COLORS = { mine: '#57e08a', reference: '#56b4e9', model: '#f0a830', none: '#93a1b1' }
const LAYERS = ['model', 'reference', 'mine'] // the last on top
const FADE = 3 // slices off the plane after which a mark is gone

export class Marks {
  constructor(canvas, viewer, session) {
    this.canvas = canvas
    this.viewer = viewer
    this.session = session
    this.shown = { reference: true, model: true, bounds: true, labels: true }
    this.moving = null // {k, fraction} while a landmark is dragged
    viewer.drawn = () => this.draw()
  }

  // All marks in a tile: {k, layer, x, y, faint, bound, current}; those of other layers than the current value are faint.
  inTile(tile) {
    const { viewer, session } = this
    const found = []
    if (!session.now || !viewer.volume) return found
    const slice = viewer.isSlice(tile)
    const half = slice ? viewer.halfVoxel(viewer.depthAxis(tile)) : 0
    session.now.landmarks.forEach((mark, k) => {
      const value = session.value(k)
      for (const layer of LAYERS) {
        const said = mark[layer]
        if (!said) continue
        const current = value.from === layer
        if (layer !== 'mine' && !this.shown[layer] && !current) continue
        const dragged = current && this.moving?.k === k
        const point = said.point.length ? said.point : null
        if (!point || (said.state !== 'present' && !(k === session.chosen))) continue
        const fraction = dragged ? this.moving.fraction : viewer.fraction(point)
        const at = viewer.place(tile, fraction)
        const off = slice && viewer.ndim === 3 ? Math.max(0, Math.abs(at.depth) - half) / (2 * half) : 0
        const radius = said.bound ?? 0
        const cut = Math.sqrt(Math.max(0, radius ** 2 - (viewer.ndim === 3 ? at.depth ** 2 : 0)))
        const chosen = k === session.chosen
        if (off > FADE && !(cut && chosen)) continue
        found.push({ k, layer, ...at, off, current, cut: cut * at.scale, absent: said.state !== 'present' })
      }
    })
    return found
  }

  draw() {
    const { canvas, viewer, session } = this
    const dpr = window.devicePixelRatio
    const [width, height] = [canvas.clientWidth, canvas.clientHeight]
    if (canvas.width !== Math.round(width * dpr) || canvas.height !== Math.round(height * dpr)) {
      canvas.width = Math.round(width * dpr)
      canvas.height = Math.round(height * dpr)
    }
    const pen = canvas.getContext('2d')
    pen.setTransform(dpr, 0, 0, dpr, 0, 0)
    pen.clearRect(0, 0, width, height)
    if (!session.now || !viewer.volume) return
    for (const tile of viewer.tiles) {
      pen.save()
      pen.beginPath()
      pen.rect(...viewer.frameOf(tile))
      pen.clip()
      if (viewer.ndim === 3 && viewer.isSlice(tile)) this.lines(pen, tile)
      const marks = this.inTile(tile)
      marks.sort((a, b) => Number(a.k === session.chosen) - Number(b.k === session.chosen))
      for (const mark of marks) this.one(pen, mark, viewer.isSlice(tile))
      pen.restore()
    }
  }

  // Where the other two slices run through this one.
  lines(pen, tile) {
    const { x, y } = this.viewer.place(tile, this.viewer.cross)
    const [left, top, width, height] = this.viewer.frameOf(tile)
    const gap = 14
    pen.strokeStyle = '#7f9cc088'
    pen.lineWidth = 1
    pen.beginPath()
    for (const [x0, y0, x1, y1] of [[left, y, x - gap, y], [x + gap, y, left + width, y], [x, top, x, y - gap],
      [x, y + gap, x, top + height]]) {
      pen.moveTo(Math.round(x0) + 0.5, Math.round(y0) + 0.5)
      pen.lineTo(Math.round(x1) + 0.5, Math.round(y1) + 0.5)
    }
    pen.stroke()
  }

  one(pen, mark, slice) {
    const chosen = mark.k === this.session.chosen
    const strong = mark.current ? 1 : 0.8
    pen.strokeStyle = pen.fillStyle = COLORS[mark.layer]
    pen.globalAlpha = Math.max(0, strong * (1 - mark.off / (FADE + 1)))
    if (slice && this.shown.bounds && mark.layer === 'model' && mark.cut > 1 && (chosen || mark.current)) {
      pen.save()
      pen.globalAlpha = chosen ? 0.95 : 0.45
      pen.lineWidth = 1.25
      pen.setLineDash(chosen ? [] : [4, 4])
      circle(pen, mark.x, mark.y, mark.cut)
      pen.restore()
    }
    if (mark.off > FADE) return
    for (const [width, color] of [[chosen ? 4 : 3, '#000b'], [chosen ? 2 : 1.4, COLORS[mark.layer]]]) {
      pen.lineWidth = width
      pen.strokeStyle = color
      if (mark.absent) cross(pen, mark.x, mark.y, 4)
      else if (!slice) circle(pen, mark.x, mark.y, chosen ? 5 : 3)
      else SHAPES[mark.layer](pen, mark.x, mark.y, chosen ? 1.35 : 1)
    }
    if (mark.current && slice && (chosen || this.shown.labels)) this.label(pen, mark, chosen)
  }

  label(pen, mark, chosen) {
    const text = this.session.now.landmarks[mark.k].name
    pen.font = `${chosen ? 600 : 400} 12px system-ui, "Noto Sans", "DejaVu Sans", sans-serif`
    pen.lineWidth = 3
    pen.strokeStyle = '#000c'
    pen.strokeText(text, mark.x + 11, mark.y - 8)
    pen.fillText(text, mark.x + 11, mark.y - 8)
  }

  // The current mark nearest to a place (CSS pixels), within reach; the chosen landmark first.
  nearest(tile, x, y, reach = 10) {
    let best = null
    for (const mark of this.inTile(tile)) {
      if (!mark.current || mark.absent || mark.off > FADE) continue
      const distance = Math.hypot(mark.x - x, mark.y - y) - (mark.k === this.session.chosen ? 4 : 0)
      if (distance <= reach && (!best || distance < best.distance)) best = { ...mark, distance }
    }
    return best
  }
}

// Open in the middle, so that nobody's mark hides what it marks. Shapes differ: colour alone is not seen by everybody.
const SHAPES = {
  mine(pen, x, y, size) {
    pen.beginPath()
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      pen.moveTo(x + dx * 3 * size, y + dy * 3 * size)
      pen.lineTo(x + dx * 9 * size, y + dy * 9 * size)
    }
    pen.stroke()
  },
  reference(pen, x, y, size) {
    const r = 6 * size
    pen.beginPath()
    pen.moveTo(x, y - r)
    pen.lineTo(x + r, y)
    pen.lineTo(x, y + r)
    pen.lineTo(x - r, y)
    pen.closePath()
    pen.stroke()
  },
  model(pen, x, y, size) {
    circle(pen, x, y, 4.5 * size)
  },
}

function circle(pen, x, y, radius) {
  pen.beginPath()
  pen.arc(x, y, radius, 0, 2 * Math.PI)
  pen.stroke()
}

function cross(pen, x, y, size) {
  pen.beginPath()
  pen.moveTo(x - size, y - size)
  pen.lineTo(x + size, y + size)
  pen.moveTo(x + size, y - size)
  pen.lineTo(x - size, y + size)
  pen.stroke()
}
