/** A frame of a stream of server-sent events. */
export interface Frame {
  /** Its type, `message` unless said otherwise. */
  event: string
  /** Its lines, joined. */
  data: string
  /** The last id that was said, by this frame or one before. */
  id: string
}

/**
 * Puts a stream of server-sent events together, as HTML says (§9.2.6), however it is cut.
 *
 * @param onFrame - gets each frame when it is whole
 * @param onRetry - gets the milliseconds after which to come back
 */
export function createParser(onFrame: (frame: Frame) => void, onRetry: (milliseconds: number) => void): (chunk: string) => void {
  let rest = ''
  let isFirst = true
  let endedInReturn = false
  let id = ''
  let event = ''
  let data: string[] = []

  function line(text: string): void {
    if (text === '') {
      if (data.length > 0) onFrame({ event: event || 'message', data: data.join('\n'), id })
      event = ''
      data = []
      return
    }
    const colon = text.indexOf(':')
    if (colon === 0) return
    const field = colon < 0 ? text : text.slice(0, colon)
    const value = colon < 0 ? '' : text.slice(text[colon + 1] === ' ' ? colon + 2 : colon + 1)
    if (field === 'data') data.push(value)
    else if (field === 'event') event = value
    else if (field === 'id' && !value.includes('\0')) id = value
    else if (field === 'retry' && /^\d+$/.test(value)) onRetry(Number(value))
  }

  return (chunk) => {
    if (chunk === '') return
    if (isFirst && chunk.startsWith('\uFEFF')) chunk = chunk.slice(1)
    isFirst = false
    // The other half of a line end that was cut in two.
    const isOtherHalf = endedInReturn && chunk.startsWith('\n')
    endedInReturn = chunk.endsWith('\r')
    if (isOtherHalf) chunk = chunk.slice(1)
    const lines = (rest + chunk).split(/\r\n|\n|\r/)
    rest = lines.pop() ?? ''
    lines.forEach(line)
  }
}
