// The mouse over the image: a landmark is moved by dragging it, or set where placing is on; the rest is NiiVue's.

const STILL = 3 // CSS pixels within which a press is a click

export class Pointer {
  // `actions` has select(k), move(k, point), place(point) and hover(point).
  constructor(stage, viewer, marks, actions) {
    Object.assign(this, { stage, viewer, marks, actions })
    this.placing = false
    this.pressed = null
    const on = (type, handle, where = stage) => where.addEventListener(type, handle.bind(this), { capture: true })
    on('mousedown', this.down)
    on('mousemove', this.motion, window)
    on('mouseup', this.up, window)
    on('wheel', this.wheel)
    on('dblclick', (event) => event.stopPropagation()) // NiiVue would throw the contrast away
    on('touchstart', this.touch)
    on('touchmove', this.touch)
    on('touchend', this.touch)
  }

  spot(event) {
    const box = this.stage.getBoundingClientRect()
    return [event.clientX - box.left, event.clientY - box.top]
  }

  down(event) {
    if (event.button !== 0 || !this.viewer.volume || this.pressed) return
    const [x, y] = this.spot(event)
    const tile = this.viewer.tileAt(x, y)
    if (!this.viewer.isSlice(tile)) return
    const mark = event.shiftKey || this.placing ? null : this.marks.nearest(tile, x, y)
    if (!mark && !event.shiftKey && !this.placing) return
    event.stopPropagation()
    event.preventDefault()
    // how far beside its middle the mark was taken hold of: it must not jump there
    this.pressed = { tile, x, y, mark, beside: mark ? [mark.x - x, mark.y - y] : [0, 0], far: false }
  }

  motion(event) {
    const [x, y] = this.spot(event)
    const held = this.pressed
    if (!held) {
      this.hover(event, x, y)
      return
    }
    event.stopPropagation()
    held.far ||= Math.hypot(x - held.x, y - held.y) > STILL
    if (held.mark && held.far) {
      this.stage.classList.add('dragging')
      this.marks.moving = { k: held.mark.k, fraction: this.under(held, x, y) }
      this.marks.draw()
      this.actions.hover(this.viewer.world(this.marks.moving.fraction))
    }
  }

  up(event) {
    const held = this.pressed
    if (!held) return
    event.stopPropagation()
    const [x, y] = this.spot(event)
    this.letGo()
    if (held.mark && held.far) this.actions.move(held.mark.k, this.viewer.world(this.under(held, x, y)))
    else if (held.mark) this.actions.select(held.mark.k)
    else if (!held.far) this.actions.place(this.viewer.world(clamp(this.viewer.pick(held.tile, x, y))))
  }

  // Take a drag back; whether there was one.
  letGo() {
    const was = this.pressed !== null
    this.pressed = null
    this.marks.moving = null
    this.stage.classList.remove('dragging')
    this.marks.draw()
    return was
  }

  // Where a dragged mark is: in the plane of the tile, at its own depth.
  under(held, x, y) {
    const { viewer } = this
    const fraction = viewer.pick(held.tile, x + held.beside[0], y + held.beside[1])
    const axis = viewer.depthAxis(held.tile)
    const session = this.marks.session
    fraction[axis] = viewer.fraction(session.value(held.mark.k).point)[axis]
    return clamp(fraction)
  }

  hover(event, x, y) {
    const inside = event.target instanceof Node && this.stage.contains(event.target)
    const tile = inside && this.viewer.volume ? this.viewer.tileAt(x, y) : null
    const slice = this.viewer.isSlice(tile)
    this.stage.classList.toggle('placing', slice && (this.placing || event.shiftKey))
    this.stage.classList.toggle('over', slice && !this.placing && !event.shiftKey && !!this.marks.nearest(tile, x, y))
    if (!inside) return
    const fraction = slice ? this.viewer.pick(tile, x, y) : null
    const within = fraction && fraction.every((f) => f >= 0 && f <= 1)
    this.actions.hover(within ? this.viewer.world(fraction) : null)
  }

  wheel(event) {
    if (!this.viewer.volume) return
    event.preventDefault()
    event.stopPropagation()
    const [x, y] = this.spot(event)
    const tile = this.viewer.tileAt(x, y)
    const way = Math.sign(event.deltaY)
    if (!way) return
    if (tile && !this.viewer.isSlice(tile)) {
      const scene = this.viewer.nv.scene
      scene.volScaleMultiplier = Math.min(4, Math.max(0.5, scene.volScaleMultiplier * (way < 0 ? 1.1 : 1 / 1.1)))
      this.viewer.draw()
    } else if (this.viewer.isSlice(tile)) {
      if (this.viewer.ndim === 2 || event.ctrlKey || event.metaKey) {
        this.viewer.zoom(way < 0 ? 1.2 : 1 / 1.2, this.viewer.pick(tile, x, y))
      } else this.viewer.step(tile, -way)
    }
  }

  // One finger does what the left button does, on a landmark or while placing.
  touch(event) {
    const finger = event.changedTouches[0]
    if (event.touches.length > 1) {
      this.letGo()
      return
    }
    const as = {
      button: 0, shiftKey: false, clientX: finger.clientX, clientY: finger.clientY, target: event.target,
      stopPropagation: () => event.stopPropagation(), preventDefault: () => event.preventDefault(),
    }
    if (event.type === 'touchstart') this.down(as)
    else if (this.pressed) this[event.type === 'touchmove' ? 'motion' : 'up'](as)
  }
}

const clamp = (fraction) => fraction.map((f) => Math.min(1, Math.max(0, f)))
