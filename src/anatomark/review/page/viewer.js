// NiiVue, and the way from its canvas to our world and back.

import { DRAG_MODE, NVImage, Niivue, SLICE_TYPE } from './vendor/niivue/niivue.js'
import { Frames } from './frames.js'

const DEPTH = { [SLICE_TYPE.AXIAL]: 2, [SLICE_TYPE.CORONAL]: 1, [SLICE_TYPE.SAGITTAL]: 0 }
const FLAT = { [SLICE_TYPE.AXIAL]: [0, 1], [SLICE_TYPE.CORONAL]: [0, 2], [SLICE_TYPE.SAGITTAL]: [1, 2] }
const GAP = 0.002
const FOUR = [
  [SLICE_TYPE.AXIAL, 0, 0], [SLICE_TYPE.CORONAL, 1, 0], [SLICE_TYPE.SAGITTAL, 0, 1], [SLICE_TYPE.RENDER, 1, 1],
].map(([sliceType, column, row]) => ({
  sliceType, position: [column * (0.5 + GAP), row * (0.5 + GAP), 0.5 - GAP, 0.5 - GAP],
}))

export class Viewer {
  constructor(canvas, ndim) {
    this.canvas = canvas
    this.ndim = ndim
    this.frames = null
    this.drawn = () => {}
    this.nv = new Niivue({
      isRadiologicalConvention: true, // the patient's right at the left; in 2D column 0
      isOrientationTextVisible: ndim === 3,
      dragAndDropEnabled: false, viewModeHotKey: '', clipPlaneHotKey: '', cycleClipPlaneHotKey: '',
      crosshairWidth: 0, sagittalNoseLeft: true, // the lines are drawn with the marks, a pixel wide show3Dcrosshair: false, backColor: [0, 0, 0, 1], fontColor: [0.62, 0.68, 0.75, 1],
      loadingText: '', logLevel: 'error', isNearestInterpolation: false, fontSizeScaling: 0.3, fontMinPx: 12,
      mouseEventConfig: {
        leftButton: { primary: ndim === 3 ? DRAG_MODE.crosshair : DRAG_MODE.pan },
        rightButton: DRAG_MODE.windowing, centerButton: DRAG_MODE.pan,
      },
    })
  }

  async attach() {
    await this.nv.attachToCanvas(this.canvas, false)
    const draw = this.nv.drawScene.bind(this.nv)
    this.nv.drawScene = (...given) => {
      if (this.held) return undefined
      const result = draw(...given)
      this.drawn()
      return result
    }
    this.toWholePixels()
    this.nv.setSliceType(this.ndim === 3 ? SLICE_TYPE.MULTIPLANAR : SLICE_TYPE.AXIAL)
    if (this.ndim === 3) this.nv.setCustomLayout(FOUR)
  }

  // Draw the slices now and the turning view after the next frame: without a graphics card it takes as long as all else.
  slicesFirst(draw) {
    if (this.ndim === 2) {
      draw()
      return
    }
    this.nv.customLayout = FOUR.slice(0, 3)
    draw()
    requestAnimationFrame(() => setTimeout(() => {
      this.nv.customLayout = FOUR
      if (this.volume) this.draw()
    }))
  }

  // WebGL cuts the fractions of a viewport off, and NiiVue computes with them: an image would lie up to a pixel beside
  // its points. So every tile gets whole pixels.
  toWholePixels() {
    const { nv } = this
    const whole = (numbers) => numbers?.map((number) => (Number.isFinite(number) ? Math.round(number) : number))
    for (const name of ['draw2D', 'draw3D']) {
      const draw = nv[name].bind(nv)
      nv[name] = (tile, ...given) => draw(whole(tile), ...given)
    }
    const size = nv.calculateWidthHeight.bind(nv)
    nv.calculateWidthHeight = (...given) => size(...given).map(Math.floor)
  }

  // Take an image over (the bytes of a NIfTI file); `matrix` is viewer_from_world. Nothing is drawn yet, so that the
  // old image stays until everything of the new one is there; `prepare(volume)` sets how it is to look.
  async show(buffer, matrix, prepare) {
    const volume = await NVImage.loadFromUrl({ url: 'image.nii', name: 'image.nii', buffer })
    this.frames = new Frames(matrix, this.ndim)
    this.nv.scene.crosshairPos = [0.5, 0.5, 0.5]
    this.nv.scene.pan2Dxyzmm = [0, 0, 0, 1]
    this.held = true
    try {
      prepare(volume)
      this.nv.volumes = []
      this.nv.addVolume(volume)
    } finally {
      this.held = false
    }
  }

  get volume() {
    return this.nv.volumes[0]
  }

  draw() {
    this.nv.drawScene()
  }

  // Fractions (0 to 1 between the outer borders of the image) of a world point, and back.
  fraction(point) {
    return [...this.nv.mm2frac(this.frames.toViewer(point), 0, true)]
  }

  world(fraction) {
    return this.frames.toWorld([...this.nv.frac2mm(fraction, 0, true)].slice(0, 3))
  }

  // The tile at a place of the canvas (CSS pixels), null between them.
  tileAt(x, y) {
    const dpr = this.nv.uiData.dpr
    const found = this.nv.screenSlices.find(({ leftTopWidthHeight: [l, t, w, h] }) => {
      const [left, width] = w < 0 ? [l + w, -w] : [l, w]
      return x * dpr >= left && x * dpr <= left + width && y * dpr >= t && y * dpr <= t + h
    })
    return found ?? null
  }

  isSlice(tile) {
    return tile !== null && tile.axCorSag in DEPTH
  }

  // Fractions of a place (CSS pixels) in a slice tile, at the tile's depth; by NiiVue's own conversion.
  pick(tile, x, y) {
    const dpr = this.nv.uiData.dpr
    const at = this.nv.screenXY2TextureFrac(x * dpr, y * dpr, this.nv.screenSlices.indexOf(tile), false)
    return [...at]
  }

  // Where a point given in fractions lies in a tile: {x, y} in CSS pixels, `depth` in mm off the slice, `scale` in CSS
  // pixels a mm. In the rendering there is no depth.
  place(tile, fraction) {
    const { nv } = this
    const dpr = nv.uiData.dpr
    const [l, t, w, h] = tile.leftTopWidthHeight
    if (!(tile.axCorSag in DEPTH)) {
      const [matrix] = nv.calculateMvpMatrix(null, [l, t, w, h], nv.scene.renderAzimuth, nv.scene.renderElevation)
      const [x, y, z] = nv.frac2mm(fraction, 0, true)
      const along = (r) => matrix[r] * x + matrix[4 + r] * y + matrix[8 + r] * z + matrix[12 + r]
      return { x: (l + ((along(0) + 1) / 2) * w) / dpr, y: (t + ((1 - along(1)) / 2) * h) / dpr, depth: 0, scale: 0 }
    }
    const mm = nv.frac2mm(fraction, 0, false) // along the image's axes, in mm
    const [u, v] = FLAT[tile.axCorSag].map((axis) => mm[axis])
    let across = (u - tile.leftTopMM[0]) / tile.fovMM[0]
    const [left, width] = w < 0 ? [l + w, -w] : [l, w]
    if (w < 0) across = 1 - across
    const up = (v - tile.leftTopMM[1]) / tile.fovMM[1]
    const axis = DEPTH[tile.axCorSag]
    const inSlice = [...fraction]
    inSlice[axis] = tile.sliceFrac
    const depth = mm[axis] - nv.frac2mm(inSlice, 0, false)[axis]
    return {
      x: (left + across * width) / dpr, y: (t + (1 - up) * h) / dpr, depth,
      scale: width / Math.abs(tile.fovMM[0]) / dpr,
    }
  }

  frameOf(tile) {
    const dpr = this.nv.uiData.dpr
    const [l, t, w, h] = tile.leftTopWidthHeight
    return [(w < 0 ? l + w : l) / dpr, t / dpr, Math.abs(w) / dpr, h / dpr]
  }

  depthAxis(tile) {
    return DEPTH[tile.axCorSag]
  }

  // Half the distance of slices along an axis of the image, in mm: what still counts as in the slice.
  halfVoxel(axis) {
    return this.volume.pixDimsRAS[axis + 1] / 2
  }

  get tiles() {
    return this.nv.screenSlices
  }

  get cross() {
    return [...this.nv.scene.crosshairPos]
  }

  // Go to a world point: the slices through it; if it lies outside the part that is seen, that part moves.
  goTo(point) {
    this.nv.scene.crosshairPos = this.fraction(point).map((f) => Math.min(1, Math.max(0, f)))
    const fraction = this.fraction(point)
    this.draw()
    const hidden = this.tiles.filter((tile) => this.isSlice(tile)).some((tile) => {
      const { x, y } = this.place(tile, fraction)
      const [l, t, w, h] = this.frameOf(tile)
      return x < l + 8 || x > l + w - 8 || y < t + 8 || y > t + h - 8
    })
    if (hidden && this.zoomed > 1) this.centre(fraction)
  }

  get zoomed() {
    return this.nv.scene.pan2Dxyzmm[3]
  }

  // Zoom by a factor around a point that stays where it is on the screen.
  zoom(factor, fraction = this.cross) {
    const pan = this.nv.scene.pan2Dxyzmm
    const wanted = Math.min(40, Math.max(1, pan[3] * factor))
    const about = this.nv.frac2mm(fraction, 0, false)
    const moved = [0, 1, 2].map((k) => (wanted === 1 ? 0 : pan[k] + about[k] * (pan[3] - wanted)))
    this.nv.scene.pan2Dxyzmm = [...moved, wanted]
    this.draw()
  }

  // Move the part that is seen so that a point is in its middle.
  centre(fraction) {
    const zoom = this.zoomed
    const middle = this.nv.frac2mm([0.5, 0.5, 0.5], 0, false)
    const about = this.nv.frac2mm(fraction, 0, false)
    this.nv.scene.pan2Dxyzmm = [...[0, 1, 2].map((k) => middle[k] - about[k] * zoom), zoom]
    this.draw()
  }

  fit() {
    this.nv.scene.pan2Dxyzmm = [0, 0, 0, 1]
    this.nv.scene.volScaleMultiplier = 1
    this.draw()
  }

  // One slice farther along a tile's axis.
  step(tile, count) {
    const axis = this.depthAxis(tile)
    const cross = this.cross
    cross[axis] = Math.min(1, Math.max(0, cross[axis] + count / this.volume.dimsRAS[axis + 1]))
    this.nv.scene.crosshairPos = cross
    this.draw()
  }

  // Show the volume anew after its contrast was set.
  refresh() {
    this.nv.updateGLVolume()
  }
}
