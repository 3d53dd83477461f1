import { describe, expect, it } from 'vitest'
import { createParser, type Frame } from '../src/sse.js'

function parse(chunks: string[]): { frames: Frame[]; retries: number[] } {
  const frames: Frame[] = []
  const retries: number[] = []
  const push = createParser((frame) => frames.push(frame), (milliseconds) => retries.push(milliseconds))
  chunks.forEach(push)
  return { frames, retries }
}

/** The cases of HTML §9.2.6, and those that its text decides. */
const cases: { what: string; text: string; frames: Frame[]; retries?: number[] }[] = [
  {
    what: 'several lines of data are joined',
    text: 'data: YHOO\ndata: +2\ndata: 10\n\n',
    frames: [{ event: 'message', data: 'YHOO\n+2\n10', id: '' }],
  },
  {
    what: 'comments say nothing, ids stay, and an empty id takes them back',
    text: ': test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n',
    frames: [
      { event: 'message', data: 'first event', id: '1' },
      { event: 'message', data: 'second event', id: '' },
      { event: 'message', data: ' third event', id: '' },
    ],
  },
  {
    what: 'empty data is data',
    text: 'data\n\ndata\ndata\n\ndata:',
    frames: [
      { event: 'message', data: '', id: '' },
      { event: 'message', data: '\n', id: '' },
    ],
  },
  {
    what: 'only one space is left out',
    text: 'data:test\n\ndata: test\n\ndata:  test\n\n',
    frames: [
      { event: 'message', data: 'test', id: '' },
      { event: 'message', data: 'test', id: '' },
      { event: 'message', data: ' test', id: '' },
    ],
  },
  {
    what: 'lines end in three ways',
    text: 'data: a\r\rdata: b\r\n\r\ndata: c\n\ndata: d\r\ndata: e\r\n\n',
    frames: [
      { event: 'message', data: 'a', id: '' },
      { event: 'message', data: 'b', id: '' },
      { event: 'message', data: 'c', id: '' },
      { event: 'message', data: 'd\ne', id: '' },
    ],
  },
  {
    what: 'a byte order mark at the beginning is no part of it, and any other is',
    text: '\uFEFFdata: a\n\n\uFEFFdata: b\n\ndata: \uFEFFc\n\n',
    frames: [
      { event: 'message', data: 'a', id: '' },
      { event: 'message', data: '\uFEFFc', id: '' },
    ],
  },
  {
    what: 'an id with U+0000 is none',
    text: 'id: 1\ndata: a\n\nid: 2\0\ndata: b\n\n',
    frames: [
      { event: 'message', data: 'a', id: '1' },
      { event: 'message', data: 'b', id: '1' },
    ],
  },
  {
    what: 'an id without data counts for what follows',
    text: 'id: 7\n\ndata: a\n\n',
    frames: [{ event: 'message', data: 'a', id: '7' }],
  },
  { what: 'only digits say when to come back', text: 'retry: 1500\nretry: 1e3\nretry: -1\nretry:\n\n', frames: [], retries: [1500] },
  {
    what: 'the type is that of one frame',
    text: 'event: closed\ndata: a\n\ndata: b\n\nevent: lost\n\ndata: c\n\n',
    frames: [
      { event: 'closed', data: 'a', id: '' },
      { event: 'message', data: 'b', id: '' },
      { event: 'message', data: 'c', id: '' },
    ],
  },
  { what: 'unknown fields are passed over', text: 'datax: a\nDATA: b\n data: c\n\n', frames: [] },
  { what: 'what is not whole at the end is not told', text: 'data: a\n', frames: [] },
]

describe('a stream of server-sent events', () => {
  for (const { what, text, frames, retries } of cases) {
    it(what, () => {
      expect(parse([text])).toEqual({ frames, retries: retries ?? [] })
    })

    it(`${what}, however it is cut`, () => {
      expect(parse([...text])).toEqual({ frames, retries: retries ?? [] })
      for (let cut = 0; cut <= text.length; cut++) {
        expect(parse([text.slice(0, cut), '', text.slice(cut)]).frames).toEqual(frames)
      }
    })
  }
})
