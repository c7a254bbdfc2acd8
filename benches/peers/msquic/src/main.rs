//! msquic under the bench's protocol.
//!
//! Settings as its own performance tool has them for throughput: the profile for maximal throughput, one worker on our
//! core, no send buffering (we keep as much under way as it calls ideal), large windows; pacing, GSO and GRO by default.
//! It has no HTTP/3.
mod client;

use bench_core::{Args, BLOCK, Error, IDLE, Role, STREAMS, WINDOW, say};
use clap::Parser;
use msquic::{
    Addr, Api, BufferRef, CertificateFile, Configuration, Connection, ConnectionEvent, ConnectionRef, Credential,
    CredentialConfig, ExecutionProfile, Listener, ListenerEvent, Registration, RegistrationConfig,
    SEND_RESUMPTION_FLAG_NONE, SendFlags, ServerResumptionLevel, Settings, Status, Stream, StreamEvent, StreamRef, ffi,
};
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::c_void;

/// One send call; msquic's tool uses the same.
const PIECE: u64 = 65536;
/// msquic tells a better number once it knows the path.
const FIRST_IDEAL: u64 = 128 << 10;
/// IPv4 and UDP headers: msquic's MTU counts them.
const HEADERS: u16 = 28;

thread_local! {
    static PIECES: RefCell<HashMap<u64, &'static [BufferRef; 1]>> = RefCell::default();
}

/// Bytes that live for ever, as msquic needs them until it reports the send as complete.
fn piece(len: u64) -> &'static [BufferRef; 1] {
    PIECES.with_borrow_mut(|all| {
        *all.entry(len).or_insert_with(|| {
            let bytes: &'static [u8] = vec![0x5a; len as usize].leak();
            Box::leak(Box::new([BufferRef::from(bytes)]))
        })
    })
}

/// What a stream still has to send.
struct Outgoing {
    left: u64,
    under_way: u64,
    ideal: u64,
}

impl Outgoing {
    fn new(left: u64) -> Self {
        Outgoing { left, under_way: 0, ideal: FIRST_IDEAL }
    }

    /// Sends until as much is under way as is ideal; FIN goes with the last byte.
    fn pump(&mut self, stream: &Stream) -> Result<(), Status> {
        while self.left > 0 && self.under_way < self.ideal {
            let n = self.left.min(PIECE);
            self.left -= n;
            self.under_way += n;
            let flags = if self.left == 0 { SendFlags::FIN } else { SendFlags::NONE };
            // SAFETY: the bytes and their descriptor live for ever; the context is a number.
            unsafe { stream.send(piece(n), flags, n as *const c_void)? };
        }
        Ok(())
    }

    /// Takes the events of sending.
    fn event(&mut self, stream: &Stream, ev: &StreamEvent) -> Result<(), Status> {
        match ev {
            StreamEvent::SendComplete { client_context, .. } => {
                self.under_way -= (*client_context as u64).min(self.under_way)
            }
            StreamEvent::IdealSendBufferSize { byte_count } => self.ideal = *byte_count,
            _ => return Ok(()),
        }
        self.pump(stream)
    }
}

fn open() -> Result<Registration, Error> {
    let _ = Api::get_ffi();
    // SAFETY: the structs are of the kernel's and msquic's types and outlive the calls.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set);
        let core = (0..1024).find(|&n| libc::CPU_ISSET(n, &set)).unwrap_or(0);
        let config = ffi::QUIC_GLOBAL_EXECUTION_CONFIG {
            Flags: 0,
            PollingIdleTimeoutUs: 0,
            ProcessorCount: 1,
            ProcessorList: [core as u16],
        };
        let len = size_of::<ffi::QUIC_GLOBAL_EXECUTION_CONFIG>() as u32;
        Api::set_param(std::ptr::null_mut(), ffi::QUIC_PARAM_GLOBAL_EXECUTION_CONFIG, len, (&raw const config).cast())?;
    }
    let profile = RegistrationConfig::new().set_execution_profile(ExecutionProfile::MaxThroughput);
    Ok(Registration::new(&profile)?)
}

fn configuration(args: &Args, registration: &Registration) -> Result<Configuration, Error> {
    let settings = Settings::new()
        .set_IdleTimeoutMs(IDLE.as_millis() as u64)
        .set_HandshakeIdleTimeoutMs(60_000)
        .set_DisconnectTimeoutMs(60_000)
        .set_PeerBidiStreamCount(STREAMS as u16)
        .set_StreamRecvWindowDefault(WINDOW)
        .set_ConnFlowControlWindow(WINDOW)
        .set_MaximumMtu(args.payload + HEADERS)
        .set_ServerResumptionLevel(ServerResumptionLevel::ResumeOnly)
        .set_SendBufferingEnabled();
    // SAFETY: `settings` is ours alone; its wrapper can only switch this on, and we want it set to off.
    unsafe { (*std::ptr::from_ref(settings.as_ffi_ref()).cast_mut()).set_SendBufferingEnabled(0) };
    let alpn = [BufferRef::from(args.alpn())];
    Ok(Configuration::open(registration, &alpn, Some(&settings))?)
}

fn serve(args: &Args) -> Result<(), Error> {
    let registration = open()?;
    let config = configuration(args, &registration)?;
    let files = CertificateFile::new(args.path("key.pem"), args.path("cert.pem"));
    config.load_credential(&CredentialConfig::new().set_credential(Credential::CertificateFile(files)))?;
    let config: &'static Configuration = Box::leak(Box::new(config));
    let listener = Listener::open(&registration, move |_, ev| {
        if let ListenerEvent::NewConnection { connection, .. } = ev {
            connection.set_callback_handler(on_connection);
            connection.set_configuration(config)?;
        }
        Ok(())
    })?;
    listener.start(&[BufferRef::from(args.alpn())], Some(&Addr::from(args.server())))?;
    say("ready");
    loop {
        std::thread::park();
    }
}

fn on_connection(conn: ConnectionRef, ev: ConnectionEvent) -> Result<(), Status> {
    match ev {
        ConnectionEvent::Connected { .. } => ticket(&conn)?,
        ConnectionEvent::PeerStreamStarted { stream, .. } => stream.set_callback_handler(answer()),
        // SAFETY: the last event of the connection; nobody else closes it.
        ConnectionEvent::ShutdownComplete { .. } => drop(unsafe { Connection::from_raw(conn.as_raw()) }),
        _ => {}
    }
    Ok(())
}

/// msquic sends a ticket only when the server's user says so.
fn ticket(conn: &ConnectionRef) -> Result<(), Status> {
    let send = Api::get_ffi().ConnectionSendResumptionTicket.ok_or(Status::from(ffi::QUIC_STATUS_NOT_SUPPORTED))?;
    // SAFETY: the handle is alive in its own event; no data goes with the ticket.
    Status::ok_from_raw(unsafe { send(conn.as_raw(), SEND_RESUMPTION_FLAG_NONE as _, 0, std::ptr::null()) })
}

/// The server's half of a stream.
fn answer() -> impl FnMut(StreamRef, StreamEvent) -> Result<(), Status> {
    let (mut head, mut have, mut out) = ([0; 8], 0, Outgoing::new(0));
    move |stream, ev| {
        match ev {
            StreamEvent::Receive { buffers, .. } => {
                for byte in buffers.iter().flat_map(|b| b.as_bytes()).take(head.len() - have) {
                    head[have] = *byte;
                    have += 1;
                }
            }
            StreamEvent::PeerSendShutdown => {
                out.left = u64::from_be_bytes(head);
                out.pump(&stream)?;
            }
            // SAFETY: the last event of the stream; nobody else closes it.
            StreamEvent::ShutdownComplete { .. } => drop(unsafe { Stream::from_raw(stream.as_raw()) }),
            ev => out.event(&stream, &ev)?,
        }
        Ok(())
    }
}

fn main() -> Result<(), Error> {
    let args = Args::parse();
    if args.h3 {
        return Err("msquic has no HTTP/3".into());
    }
    const { assert!(BLOCK as u64 >= PIECE) };
    match args.role {
        Role::Server => serve(&args),
        _ => client::drive(&args),
    }
}
