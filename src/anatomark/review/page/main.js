// The page: creates its parts and connects them.

import * as api from './api.js'
import { CaseList } from './cases.js'
import { showConflict } from './conflict.js'
import { Contrast } from './contrast.js'
import { byId, element, toast } from './dom.js'
import { Images } from './images.js'
import { listen, showKeys } from './keys.js'
import { LandmarkList } from './landmarks.js'
import { Marks } from './marks.js'
import { Pointer } from './pointer.js'
import { watch } from './saved.js'
import { Session } from './session.js'
import { Viewer } from './viewer.js'

const study = await api.study()
const session = new Session(study)
const viewer = new Viewer(byId('gl'), study.ndim)
const images = new Images()
document.title = `${study.name} · anatomark review`
byId('study').textContent = study.name
byId('who').textContent = `reviewed by ${study.reviewer}`
byId('who').title = study.file

const marks = new Marks(byId('marks'), viewer, session)
const contrast = new Contrast(viewer)
const cases = new CaseList(session, open)
new LandmarkList(session, {
  choose: (k) => session.choose(k), state: setState, take, clear, undo: () => undo(), redo: () => redo(),
})
const pointer = new Pointer(byId('stage'), viewer, marks, {
  select: (k) => session.choose(k, false),
  move: (k, point) => {
    session.choose(k, false)
    set(k, { state: 'present', point, how: 'placed' }, `${nameOf(k)} moved`)
    if (study.ndim === 3) viewer.goTo(point)
  },
  place: (point) => place(point),
  hover: (point) => showPosition(point),
})
watch(session)

const nameOf = (k) => session.now.landmarks[k].name
let wanted = null

// Open a case; of several requests, the last one counts.
async function open(number) {
  if (number === null || number === session.now?.number) return
  wanted = number
  saveNote()
  const trouble = byId('trouble')
  try {
    // a change of this case that is still on its way must be in the server's answer
    if (session.waiting) await session.queue
    const [told, image] = await Promise.all([api.caseOf(number), images.get(number).catch((error) => error)])
    if (wanted !== number) return
    pointer.letGo()
    const broken = told.image.error ?? (image instanceof Error ? image.message : null)
    if (broken === null) {
      await viewer.show(image.buffer, told.image.viewer_from_world, (volume) => contrast.opening(volume))
    } else viewer.nv.volumes = []
    trouble.hidden = broken === null
    trouble.textContent = broken ?? ''
    session.open(told)
    viewer.slicesFirst(go)
    showCase(told, image)
    setTimeout(() => images.ahead([cases.beside(1), cases.beside(-1)].filter((n) => n !== null)), 250) // first this one
  } catch (error) {
    trouble.hidden = false
    trouble.textContent = error.message
  }
}

function showCase(told, image) {
  byId('case-name').textContent = told.id
  byId('case-name').title = told.file
  byId('note').value = told.review.note
  const { shape, spacing } = told.image
  byId('about').textContent = shape ? `${shape.join(' × ')} · ${study.unit === 'px' ? 'no spacing, in px'
    : `${spacing.map((s) => s.toFixed(3).replace(/\.?0+$/, '')).join(' × ')} mm`}${image.step > 1
    ? ` · every ${image.step}${['', '', 'nd', 'rd'][image.step] ?? 'th'} ${study.ndim === 2 ? 'pixel' : 'voxel'} shown; points keep full precision` : ''}` : ''
  showPosition(null)
}

// In 3D the slices go through the chosen landmark; in 2D it comes into view.
function go() {
  const value = session.value(session.chosen)
  if (viewer.volume && value.point.length) viewer.goTo(value.point)
  else viewer.draw()
}

function showPosition(point) {
  const { unit, ndim } = study
  const axes = ndim === 2 ? ['x', 'y'] : ['L', 'P', 'S']
  byId('position').textContent = point ? point.map((c, i) => `${axes[i]} ${c.toFixed(1)}`).join('   ') + ` ${unit}` : ''
}

function set(k, placement, what) {
  session.act({ set: { [nameOf(k)]: placement } }, what)
}

function place(point) {
  if (!session.now || !viewer.volume) return
  const k = session.chosen
  const empty = session.value(k).point.length === 0
  set(k, { state: 'present', point, how: 'placed' }, `${nameOf(k)} set`)
  if (study.ndim === 3) viewer.goTo(point)
  else if (empty) {
    // in a picture, the next click sets the next landmark that is not annotated
    const next = session.now.landmarks.findIndex((_, i) => i > k && session.value(i).state === 'not annotated')
    if (next >= 0) session.choose(next)
  }
}

function setState(state) {
  const k = session.chosen
  const { mine, model, reference } = session.now.landmarks[k]
  if (state !== 'present') {
    set(k, { state, point: [], how: 'placed' }, `${nameOf(k)} ${state}`)
    return
  }
  if (mine?.state === 'present') return
  // the point shown; of an absent landmark the model's, as it has one for every landmark
  const layer = reference?.point.length ? 'reference' : model?.point.length ? 'model' : null
  const point = layer && session.now.landmarks[k][layer].point
  if (point) set(k, { state, point, how: layer }, `${nameOf(k)} present`)
  else {
    placing(true)
    toast(`Click where ${nameOf(k)} is`)
  }
}

function take(layer) {
  const k = session.chosen
  const said = session.now.landmarks[k][layer]
  if (!said) return
  const point = said.state === 'present' ? said.point : []
  set(k, { state: said.state, point, how: layer }, `${nameOf(k)} from the ${layer}`)
  go()
}

function clear() {
  const k = session.chosen
  if (session.now.landmarks[k].mine) set(k, null, `${nameOf(k)} cleared`)
}

function undo() {
  const what = session.undo()
  toast(what ? `Undone: ${what}` : 'Nothing to undo in this case')
  afterStep()
}

function redo() {
  const what = session.redo()
  toast(what ? `Redone: ${what}` : 'Nothing to redo in this case')
  afterStep()
}

function afterStep() {
  byId('note').value = session.now.review.note
  if (study.ndim === 3) go()
}

// Accept a case, and with it the model's points of landmarks that neither reviewer nor reference has set.
function accept() {
  if (!session.now || session.now.review.accepted !== null) return
  const over = {}
  for (const mark of session.now.landmarks) {
    if (mark.mine || mark.reference || !mark.model) continue
    const { state, point } = mark.model
    over[mark.name] = { state, point: state === 'present' ? point : [], how: 'model' }
  }
  const count = Object.keys(over).length
  session.act({ set: over, accepted: true }, 'case accepted')
  toast(`${session.now.id} accepted${count ? `; ${count} landmark${count > 1 ? 's' : ''} accepted from the model` : ''}`)
}

let placingAsked = false
function placing(on) {
  placingAsked = on
  showPlacing()
}

// Placing is on where it was asked for, and where the chosen landmark has no point that could be dragged.
function showPlacing() {
  if (!session.now) return
  const value = session.value(session.chosen)
  const empty = value.point.length === 0 && value.state === 'not annotated' && value.from === 'none'
  pointer.placing = (placingAsked || empty) && !!viewer.volume
  byId('hint').textContent = pointer.placing ? `Click to set ${nameOf(session.chosen)}` : ''
}

session.addEventListener('changed', () => {
  showPlacing()
  const accepted = session.now.review.accepted !== null
  byId('accept').disabled = accepted
  byId('accept').firstChild.textContent = accepted ? 'Accepted ' : 'Accept case '
  marks.draw()
})
session.addEventListener('chosen', (event) => {
  placingAsked = false
  showPlacing()
  if (event.detail.go) go()
  marks.draw()
})
session.addEventListener('conflict', (event) => showConflict(session, event.detail))
session.addEventListener('refused', (event) => toast(event.detail))
viewer.drawn = () => {
  marks.draw()
  contrast.read()
}

// A note is saved while it is written, not only when the field is left.
let writing = 0
function saveNote() {
  clearTimeout(writing)
  const text = byId('note').value
  if (session.now && text !== session.now.review.note) session.act({ note: text }, 'note')
}
byId('note').addEventListener('input', () => {
  clearTimeout(writing)
  writing = setTimeout(saveNote, 600)
})
byId('note').addEventListener('change', saveNote)
window.addEventListener('beforeunload', saveNote)

// Predict the open case; the page stays usable meanwhile.
async function predict() {
  if (!study.assistant || !session.now) return
  const number = session.now.number
  const button = byId('predict')
  button.disabled = true
  button.firstChild.textContent = 'Predicting … '
  try {
    let job = await api.predict(number)
    while (job.state === 'waiting') {
      await new Promise((wake) => setTimeout(wake, 250))
      job = await api.prediction(number)
    }
    if (job.state === 'failed') toast(job.told)
    else {
      session.learn(number, job)
      toast(job.told || `${session.lines[number].id} predicted`)
    }
  } catch (error) {
    toast(error.message)
  }
  button.disabled = false
  button.firstChild.textContent = 'Predict '
}

function layerButton(name, text, color) {
  const made = element('button', { type: 'button', 'aria-pressed': 'true', class: color ?? '' }, text)
  made.addEventListener('click', () => toggle(name))
  made.dataset.layer = name
  return made
}

function toggle(name) {
  marks.shown[name] = !marks.shown[name]
  byId('layers').querySelector(`[data-layer="${name}"]`).setAttribute('aria-pressed', String(marks.shown[name]))
  marks.draw()
}

byId('layers').append(layerButton('reference', 'Reference', 'from-reference'), layerButton('model', 'Model', 'from-model'),
  layerButton('bounds', 'Bounds'), layerButton('labels', 'Names'))
const anyFirst = (way) => session.choose((session.chosen + way + study.landmarks.length) % study.landmarks.length)
const step = (way) => {
  const next = cases.beside(way)
  if (next === null) toast(way > 0 ? 'This is the last case of the list' : 'This is the first case of the list')
  else open(next)
}
const actions = {
  nextCase: () => step(1), lastCase: () => step(-1), accept, nextLandmark: () => anyFirst(1), lastLandmark: () => anyFirst(-1),
  present: () => setState('present'), absent: () => setState('absent'), notAnnotated: () => setState('not annotated'),
  placing: () => placing(!placingAsked), here: () => study.ndim === 3 && viewer.volume && place(viewer.world(viewer.cross)),
  takeModel: () => take('model'), takeReference: () => take('reference'), clear, undo, redo, predict,
  contrast: () => viewer.volume && toast(`Contrast: ${contrast.next()}`), zoomIn: () => viewer.volume && viewer.zoom(1.25),
  zoomOut: () => viewer.volume && viewer.zoom(0.8), fit: () => viewer.volume && viewer.fit(), labels: () => toggle('labels'),
  letGo: () => {
    if (!pointer.letGo()) placing(false)
  },
  help: showKeys,
}
for (const [id, name] of Object.entries({
  accept: 'accept', next: 'nextCase', predict: 'predict', help: 'help', fit: 'fit', 'zoom-in': 'zoomIn', 'zoom-out': 'zoomOut',
})) byId(id).addEventListener('click', () => actions[name]())
byId('predict').hidden = !study.assistant
listen(actions)

// Back from another window, what was changed there is shown before anything is changed here.
window.addEventListener('focus', async () => {
  if (session.waiting || !session.now) return
  const fresh = await api.study().catch(() => null)
  if (!fresh || session.waiting) return
  fresh.cases.forEach((line, number) => {
    if (line.revision === session.revisions.get(number)) return
    session.lines[number] = line
    session.tell('line', number)
    if (number === session.now.number) api.caseOf(number).then((told) => session.waiting || session.open(told))
  })
})

try {
  await viewer.attach()
} catch (error) {
  byId('trouble').hidden = false
  byId('trouble').textContent = `The image cannot be shown: ${error.message}\nThis page needs WebGL 2.`
}
await open(cases.beside(1) ?? 0)
window.review = { session, viewer, cases, marks, images, open } // for tests, and for the curious
