// Images from the server, those beside the open case ahead of time.

import * as api from './api.js'

const KEPT = 8
const ROOM = 600e6 // bytes

export class Images {
  constructor() {
    this.held = new Map() // number -> promise of {buffer, step}, the least used first
    this.size = 0
    this.coming = 0
  }

  get(number) {
    const known = this.held.get(number)
    if (known) {
      this.held.delete(number)
      this.held.set(number, known)
      return known
    }
    const asked = api.image(number)
    this.held.set(number, asked)
    this.coming += 1
    asked.finally(() => (this.coming -= 1)).catch(() => {})
    asked.then((image) => {
      this.size += image.buffer.byteLength
      this.shrink()
    }, () => this.held.delete(number))
    return asked
  }

  // Whether everything that was asked for has come.
  settled() {
    return this.coming === 0
  }

  ahead(numbers) {
    for (const number of numbers) this.get(number).catch(() => {})
  }

  shrink() {
    for (const [number, asked] of this.held) {
      if ((this.held.size <= KEPT && this.size <= ROOM) || this.held.size <= 2) return
      this.held.delete(number)
      asked.then((image) => (this.size -= image.buffer.byteLength), () => {})
    }
  }
}
