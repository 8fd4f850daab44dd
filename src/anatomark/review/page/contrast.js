// Window and level: presets, numbers, and what the right mouse button does to them.

import { byId } from './dom.js'
import { fill } from './cases.js'

const HOUNSFIELD = { 'soft tissue': [400, 40], bone: [2000, 500], lung: [1500, -600], brain: [80, 40] }

export class Contrast {
  constructor(viewer) {
    this.viewer = viewer
    this.preset = 'auto'
    byId('preset').addEventListener('input', () => this.use(byId('preset').value))
    for (const id of ['window', 'level']) byId(id).addEventListener('change', () => this.typed())
  }

  // For a new volume, not yet drawn: the presets that suit it, and the one in use again.
  opening(volume) {
    const { global_min: low, global_max: high } = volume
    this.volume = volume
    this.isCt = this.viewer.ndim === 3 && low <= -500 && high >= 300
    this.names = ['auto', 'whole range', ...(this.isCt ? Object.keys(HOUNSFIELD) : ['brighter', 'darker']), 'inverted']
    fill(byId('preset'), [...this.names.map((name) => [name, name]), ['own', 'own']])
    if (this.preset === 'own') this.put(...this.range)
    else this.settle(this.names.includes(this.preset) ? this.preset : 'auto')
  }

  settle(name) {
    const { robust_min: low, robust_max: high, global_min: least, global_max: most } = this.volume
    const wide = high - low || 1
    const ranges = {
      auto: [low, high], inverted: [low, high], 'whole range': [least, most],
      brighter: [low, low + 0.6 * wide], darker: [low + 0.3 * wide, high + 0.5 * wide],
    }
    for (const [preset, [window, level]] of Object.entries(HOUNSFIELD)) ranges[preset] = [level - window / 2, level + window / 2]
    if (!(name in ranges)) return
    this.preset = name
    this.volume.colormapInvert = name === 'inverted'
    this.put(...ranges[name])
  }

  use(name) {
    this.settle(name)
    this.viewer.refresh()
  }

  next() {
    const at = this.names.indexOf(this.preset)
    this.use(this.names[(at + 1) % this.names.length])
    return this.preset
  }

  typed() {
    const [window, level] = [Number(byId('window').value), Number(byId('level').value)]
    if (!(window > 0) || !Number.isFinite(level)) {
      this.read(true)
      return
    }
    this.preset = 'own'
    this.put(level - window / 2, level + window / 2)
    this.viewer.refresh()
  }

  put(low, high) {
    this.volume.cal_min = low
    this.volume.cal_max = Math.max(high, low + 1e-6)
    this.range = [this.volume.cal_min, this.volume.cal_max]
    this.read(true)
  }

  // Show what the viewer has, which the mouse may have changed.
  read(force = false) {
    const { volume } = this
    if (!volume || !this.range) return
    const moved = this.range[0] !== volume.cal_min || this.range[1] !== volume.cal_max
    if (!moved && !force) return
    if (moved) {
      this.range = [volume.cal_min, volume.cal_max]
      this.preset = 'own'
    }
    const wide = this.range[1] - this.range[0]
    const digits = (value) => (wide >= 50 ? Math.round(value) : Number(value.toPrecision(3)))
    byId('preset').value = this.preset
    byId('window').value = digits(this.range[1] - this.range[0])
    byId('level').value = digits((this.range[0] + this.range[1]) / 2)
  }
}
