// What the page asks the server for.

export class RequestRejected extends Error {
  constructor(status, body) {
    super(body.detail ?? `the server answered ${status}`)
    this.status = status
    this.body = body
  }
}

async function ask(path, options) {
  const answer = await fetch(path, options)
  const body = await answer.json().catch(() => ({}))
  if (!answer.ok) throw new RequestRejected(answer.status, body)
  return body
}

export const study = () => ask('api/study')
export const caseOf = (number) => ask(`api/cases/${number}`)
export const prediction = (number) => ask(`api/cases/${number}/prediction`)
export const predict = (number) => ask(`api/cases/${number}/prediction`, { method: 'POST' })

export const change = (number, body) =>
  ask(`api/cases/${number}/changes`, {
    method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body),
  })

// {buffer, step}: the image as NIfTI, of which every `step`-th voxel is there.
export async function image(number) {
  const answer = await fetch(`api/cases/${number}/image.nii`)
  if (!answer.ok) throw new RequestRejected(answer.status, await answer.json().catch(() => ({})))
  return { buffer: await answer.arrayBuffer(), step: Number(answer.headers.get('x-step')) }
}
