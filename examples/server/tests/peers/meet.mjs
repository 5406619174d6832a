// Two peers of another WebRTC implementation (libwebrtc, the browsers' own) meet through the server's
// signaling and talk both ways: in order, one late, both at once, and after a dropped socket.
//
// node meet.mjs PROGRAM — starts the server PROGRAM on a free port, and ends it.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import wrtc from "@roamhq/wrtc";
import WebSocket from "ws";

const LIMIT = 30_000;

async function startServer(program) {
  const folder = await mkdtemp(join(tmpdir(), "fogcore-peers-"));
  const env = { ...process.env, PORT: "0", DATABASE_URL: "memory:", DATA_DIR: folder };
  const child = spawn(program, { env, stdio: ["ignore", "pipe", "inherit"] });
  for await (const line of createInterface({ input: child.stdout })) {
    const url = line.match(/listens on (\S+)/)?.[1];
    if (url) {
      const stop = async () => {
        child.kill();
        await rm(folder, { recursive: true, force: true });
      };
      return { url, stop };
    }
  }
  throw new Error(`${program} does not serve`);
}

async function post(url, body) {
  const headers = { "content-type": "application/json" };
  const answer = await fetch(url, { method: "POST", headers, body: JSON.stringify(body) });
  assert.ok(answer.ok, `${url}: ${answer.status} ${await answer.clone().text()}`);
  return answer.json();
}

class Peer {
  constructor(server, session, name, other) {
    Object.assign(this, { server, session, name, other, heard: 0, gaveWay: false });
    this.told = new Promise((resolve, reject) => Object.assign(this, { hear: resolve, fail: reject }));
    // Whoever waits for it hears of it; until then it is nobody's.
    this.told.catch(() => {});
    this.begin();
  }

  // A connection that has not begun: also what is left of an offer that is void.
  begin() {
    this.pc?.close();
    const pc = new wrtc.RTCPeerConnection();
    Object.assign(this, { pc, early: [], found: [], isOffering: false, hasTold: false });
    pc.onicecandidate = ({ candidate }) => {
      // What is found for an offer that is void is nobody's; for one that was not told yet, it waits.
      if (pc !== this.pc) return;
      const message = { type: "ice-candidate", to: this.other, candidate };
      this.hasTold ? this.say(message) : this.found.push(message);
    };
    pc.ondatachannel = ({ channel }) => this.talk(channel);
  }

  talk(channel) {
    channel.onopen = () => channel.send(`hello from ${this.name}`);
    channel.onmessage = ({ data }) => this.hear(data);
  }

  // Opens the socket; resolves once the session was joined or resumed.
  connect() {
    const url = new URL("/api/v1/signaling/ws", this.server.replace("http", "ws"));
    url.searchParams.set("peer_id", this.name);
    url.searchParams.set("session_id", this.session);
    if (this.resume) {
      url.searchParams.set("resume", this.resume);
      url.searchParams.set("after", this.heard);
    }
    this.socket = new WebSocket(url);
    // One after the other: descriptions take their time.
    let last = Promise.resolve();
    return new Promise((resolve, reject) => {
      this.socket.onopen = () => this.resume && resolve();
      this.socket.onerror = reject;
      this.socket.onmessage = ({ data }) => {
        const message = JSON.parse(data);
        this.heard = message.seq ?? this.heard;
        if (message.type === "session-joined") {
          this.resume = message.resume;
          resolve();
        }
        last = last.then(() => this.heed(message)).catch(this.fail);
      };
    });
  }

  say(message) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  async offer() {
    await this.prepare();
    this.tell("offer");
  }

  async prepare() {
    this.isOffering = true;
    this.talk(this.pc.createDataChannel("talk"));
    await this.pc.setLocalDescription(await this.pc.createOffer());
  }

  // The description first, and then where it can be reached.
  tell(type) {
    this.say({ type, to: this.other, sdp: this.pc.localDescription.sdp });
    this.hasTold = true;
    for (const candidate of this.found.splice(0)) this.say(candidate);
  }

  async heed(message) {
    switch (message.type) {
      case "offer":
        // Who does not give way overhears an offer that meets its own.
        if (this.isOffering && !message.polite) return;
        if (this.isOffering) this.begin();
        await this.pc.setRemoteDescription({ type: "offer", sdp: message.sdp });
        await this.pc.setLocalDescription(await this.pc.createAnswer());
        this.tell("answer");
        return this.addEarly();
      case "answer":
        // What came before belongs to an offer that was overheard.
        this.early = [];
        return this.pc.setRemoteDescription({ type: "answer", sdp: message.sdp });
      case "ice-candidate":
        if (!this.pc.remoteDescription) return this.early.push(message.candidate);
        return this.pc.addIceCandidate(message.candidate);
      case "give-way":
        // The other's offer says the rest, and comes before this or after it.
        this.gaveWay = true;
        return;
      case "error":
        throw new Error(message.message);
    }
  }

  async addEarly() {
    for (const candidate of this.early.splice(0)) await this.pc.addIceCandidate(candidate);
  }

  close() {
    this.pc.close();
    this.socket.close();
  }
}

const scenarios = {
  async "one offers"(a, b) {
    await Promise.all([a.connect(), b.connect()]);
    await a.offer();
  },
  async "one comes late"(a, b) {
    await a.connect();
    await a.offer();
    await b.connect();
  },
  async "both offer at once"(a, b) {
    await Promise.all([a.connect(), b.connect()]);
    await Promise.all([a.prepare(), b.prepare()]);
    // In one breath: neither can have heard of the other's.
    a.tell("offer");
    b.tell("offer");
  },
  async "a socket drops"(a, b) {
    await Promise.all([a.connect(), b.connect()]);
    const gone = new Promise((resolve) => (b.socket.onclose = resolve));
    b.socket.terminate();
    await gone;
    await a.offer();
    await b.connect();
  },
};

const server = await startServer(process.argv[2]);
const limit = setTimeout(async () => {
  console.error("they did not meet in time");
  await server.stop();
  // An exit would wait for the native library, which waits for its connections.
  process.kill(process.pid, "SIGKILL");
}, LIMIT);
try {
  await post(`${server.url}/api/zones/`, { zone_id: "arena", zone_name: "Arena" });
  for (const [index, [name, scenario]] of Object.entries(scenarios).entries()) {
    const host = {
      host_id: `host-${index}`, player_id: "player-1", ip_address: "127.0.0.1", port: 8080,
      cpu_cores: 8, memory_mb: 16384, network_speed_mbps: 1000,
    };
    await post(`${server.url}/api/hosts/`, host);
    const opened = { host_id: host.host_id, zone_id: "arena" };
    const { session_id: session } = await post(`${server.url}/api/sessions/`, opened);
    const a = new Peer(server.url, session, "a", "b");
    const b = new Peer(server.url, session, "b", "a");
    await scenario(a, b);
    assert.deepEqual(await Promise.all([a.told, b.told]), ["hello from b", "hello from a"]);
    assert.equal(a.gaveWay || b.gaveWay, name === "both offer at once", name);
    a.close();
    b.close();
    console.log(`ok - ${name}`);
  }
} finally {
  clearTimeout(limit);
  await server.stop();
}
// The native library keeps threads of its own.
process.exit(0);
