// Whether everything is saved, always in view.

import { byId } from './dom.js'

export function watch(session) {
  const show = () => {
    const shown = byId('saved')
    const text = session.trouble ? `Not saved: ${session.trouble}`
      : session.waiting ? 'saving …'
        : session.behind ? session.behind
          : session.lastSaved ? `saved ${session.lastSaved.toLocaleTimeString([], { hour12: false })}` : 'no changes'
    shown.textContent = text
    shown.title = `Every change is saved to ${session.study.file}`
    shown.className = session.trouble || session.behind ? 'bad' : session.waiting ? 'busy' : 'ok'
  }
  session.addEventListener('saving', show)
  session.addEventListener('line', show)
  session.addEventListener('refused', show)
  window.addEventListener('beforeunload', (event) => {
    if (session.waiting) event.preventDefault()
  })
  show()
}
