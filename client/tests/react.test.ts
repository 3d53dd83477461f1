// @vitest-environment jsdom
import { createElement, StrictMode, useState, type ReactNode } from 'react'
import { createRoot, type Root } from 'react-dom/client'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { createClient, type Client } from '../src/index.js'
import { useMessages, useSubscription } from '../src/react.js'
import { control, message, Service, soon, stream, type Answer } from './service.js'

let service: Service
let root: Root
let place: HTMLElement

async function start(...answers: Answer[]): Promise<Client> {
  service = await Service.start(...answers)
  return createClient({ url: service.url })
}

beforeEach(() => {
  place = document.createElement('div')
  root = createRoot(place)
})

afterEach(async () => {
  root.unmount()
  await service.stop()
})

/** Waits until the component shows something. */
const shows = (text: string): Promise<void> => soon(() => expect(place.textContent).toBe(text))

it('shows the last messages and how the connection is', async () => {
  const client = await start(stream([message('c1', 1), message('c2', 2), message('c3', 3), control('up-to-date', 'c3')]))
  function Last({ client }: { client: Client }): ReactNode {
    const { messages, status } = useMessages<number>(client, 'news', { limit: 2 })
    return `${messages.map(({ message }) => message).join()} ${status}`
  }
  // As in development: each effect runs twice, and the first time is undone.
  root.render(createElement(StrictMode, null, createElement(Last, { client })))
  await shows('2,3 live')
})

it('calls the newest handler, without another connection, and ends with its component', async () => {
  const client = await start(stream([control('up-to-date', 'c0')]), stream([message('c1', 'other'), control('up-to-date', 'c1')]))
  const told: string[] = []
  const names: string[] = []
  let setName: (name: string) => void = () => {}
  let setTopic: (topic: string) => void = () => {}
  function Listening(): ReactNode {
    const [name, putName] = useState('first')
    const [topic, putTopic] = useState('news')
    setName = putName
    names.push(name)
    setTopic = putTopic
    return useSubscription<string>(client, topic, ({ message }) => void told.push(`${name} ${message}`))
  }
  root.render(createElement(Listening))
  await shows('live')
  setName('second')
  await soon(() => expect(names).toContain('second'))
  expect(service.asked.length).toBe(1)

  setTopic('others')
  await soon(() => expect(service.asked.length).toBe(2))
  await soon(() => expect(told).toEqual(['second other']))
  expect(service.asked.map(({ url }) => url)).toEqual(['/realtime/topics?topics=news', '/realtime/topics?topics=others'])
})
