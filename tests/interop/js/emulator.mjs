// Starts `crossfade emulator` and reads the environment file that it prints.
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";

const TABLE = "monitoring_events(id uuid primary key default gen_random_uuid(), event_type text, timestamp timestamptz, " +
  "data jsonb, source text, created_at timestamptz default now())";

export class Emulator {
  static async start(listen = "127.0.0.1:0") {
    const policies = ["authenticated:room:*:rw"].flatMap((policy) => ["--policy", policy]);
    policies.push("--table", TABLE, "--table-policy", "anon:monitoring_events:rw");
    const child = spawn(process.env.CROSSFADE, ["emulator", "--listen", listen, ...policies], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    process.once("exit", () => child.kill("SIGKILL"));
    const self = new Emulator();
    self.child = child;
    const env = {};
    for await (const line of createInterface({ input: child.stdout })) {
      const [name, ...value] = line.split("=");
      if (!line.startsWith("#")) env[name] = value.join("=");
      if (env.SUPABASE_SERVICE_ROLE_KEY) break;
    }
    if (!env.SUPABASE_SERVICE_ROLE_KEY) throw new Error("the emulator did not start");
    self.url = env.SUPABASE_URL;
    self.anon = env.SUPABASE_ANON_KEY;
    self.service = env.SUPABASE_SERVICE_ROLE_KEY;
    self.authenticated = env.AUTHENTICATED_TOKEN;
    return self;
  }

  address() {
    return this.url.replace("http://", "");
  }

  // A killed server: sockets end without a close frame.
  async kill() {
    const gone = new Promise((resolve) => this.child.once("exit", resolve));
    this.child.kill("SIGKILL");
    await gone;
  }
}
