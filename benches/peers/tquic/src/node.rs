//! A socket with tquic's endpoint: datagrams in, datagrams out, timers.
use bench_core::udp::{RUN, SEGMENTS, Udp};
use bench_core::{Args, Error, IDLE, Role, STREAMS, WINDOW};
use bytes::Bytes;
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tquic::h3::Http3Error;
use tquic::h3::connection::Http3Connection;
use tquic::{
    CongestionControlAlgorithm, Connection, Endpoint, PacketInfo, PacketSendHandler, TlsConfig, TransportHandler,
};

/// Receive calls between two looks at what has to be sent.
const RUNS: usize = 4;

fn config(args: &Args) -> Result<tquic::Config, Error> {
    let mut c = tquic::Config::new()?;
    c.set_max_idle_timeout(IDLE.as_millis() as u64);
    c.set_recv_udp_payload_size(args.payload);
    c.set_send_udp_payload_size(args.payload.into());
    c.set_initial_max_data(WINDOW.into());
    c.set_initial_max_stream_data_bidi_local(WINDOW.into());
    c.set_initial_max_stream_data_bidi_remote(WINDOW.into());
    c.set_max_connection_window(WINDOW.into());
    c.set_max_stream_window(WINDOW.into());
    c.set_initial_max_streams_bidi(STREAMS.into());
    c.set_send_batch_size(SEGMENTS);
    match args.congestion.as_deref() {
        None => {}
        Some("cubic") => c.set_congestion_control_algorithm(CongestionControlAlgorithm::Cubic),
        Some("bbr") => c.set_congestion_control_algorithm(CongestionControlAlgorithm::Bbr),
        Some(other) => return Err(format!("no controller {other:?}: cubic or bbr").into()),
    }
    let protocols = vec![args.alpn().to_vec()];
    c.set_tls_config(if matches!(args.role, Role::Server) {
        TlsConfig::new_server_config(&args.path("cert.pem"), &args.path("key.pem"), protocols, true)?
    } else {
        let mut tls = TlsConfig::new_client_config(protocols, true)?;
        tls.set_ca_certs(&args.path("ca.pem"))?;
        tls.set_verify(true);
        tls
    });
    Ok(c)
}

/// Sends runs of equal datagrams to one address with one call each.
struct Sender {
    udp: Rc<Udp>,
    run: RefCell<Vec<u8>>,
}

impl PacketSendHandler for Sender {
    fn on_packets_send(&self, packets: &[(Vec<u8>, PacketInfo)]) -> tquic::Result<usize> {
        let mut run = self.run.borrow_mut();
        let mut rest = packets;
        while let Some(((first, info), _)) = rest.split_first() {
            run.clear();
            let mut count = 0;
            for (packet, to) in rest.iter().take(SEGMENTS) {
                if to.dst != info.dst || packet.len() > first.len() || run.len() + packet.len() > RUN {
                    break;
                }
                run.extend_from_slice(packet);
                count += 1;
                if packet.len() < first.len() {
                    break;
                }
            }
            let fault = |e: Error| tquic::Error::IoError(e.to_string());
            while !self.udp.send(&run, first.len(), info.dst).map_err(fault)? {
                self.udp.poll(None, true, false).map_err(fault)?;
            }
            rest = &rest[count..];
        }
        Ok(packets.len())
    }
}

pub struct Node {
    udp: Rc<Udp>,
    local: SocketAddr,
    pub endpoint: Endpoint,
    inbound: Vec<u8>,
}

impl Node {
    pub fn new(args: &Args, handler: Box<dyn TransportHandler>) -> Result<Node, Error> {
        let server = matches!(args.role, Role::Server);
        let udp = Rc::new(Udp::new(if server { args.server() } else { args.any() })?);
        let sender = Rc::new(Sender { udp: Rc::clone(&udp), run: RefCell::new(Vec::with_capacity(RUN)) });
        Ok(Node {
            local: udp.local()?,
            udp,
            endpoint: Endpoint::new(Box::new(config(args)?), server, handler, sender),
            inbound: vec![0; 1 << 16],
        })
    }

    /// A new connection of a client.
    pub fn dial(&mut self, to: SocketAddr, session: Option<&[u8]>) -> Result<(), Error> {
        self.endpoint.connect(self.local, to, Some("localhost"), session, None, None)?;
        Ok(())
    }

    /// Sends what there is and waits for datagrams or a timer; the handler hears what comes of it.
    pub fn turn(&mut self, patience: Option<Duration>) -> Result<(), Error> {
        self.endpoint.process_connections()?;
        let timeout = match (self.endpoint.timeout(), patience) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        for turn in 0..RUNS {
            let Some(run) = self.udp.receive(&mut self.inbound)? else {
                if turn > 0 {
                    break;
                }
                self.udp.poll(timeout, false, false)?;
                continue;
            };
            let info = PacketInfo { src: run.from, dst: self.local, time: Instant::now() };
            for packet in self.inbound[..run.len].chunks_mut(run.segment) {
                // A packet that cannot be used is dropped by the endpoint.
                let _ = self.endpoint.recv(packet, &info);
            }
        }
        if self.endpoint.timeout().is_some_and(|left| left.is_zero()) {
            self.endpoint.on_timeout(Instant::now());
        }
        Ok(())
    }
}

/// What a stream still has to send, and what it got.
#[derive(Default)]
pub struct Stream {
    pub head: Vec<u8>,
    /// What is to be sent before the body.
    pub number: Bytes,
    pub got: u64,
    /// Bytes of the body to be sent.
    pub left: u64,
    pub sending: bool,
    pub start: Option<Instant>,
}

/// Hands over as much of a stream's body as it takes, with FIN at its end, and asks to be told of room for the rest.
pub fn push(
    conn: &mut Connection,
    mut http: Option<&mut Http3Connection>,
    id: u64,
    s: &mut Stream,
    block: &Bytes,
) -> Result<(), Error> {
    let mut write = |data: Bytes, fin| -> Result<usize, Error> {
        let Some(http) = http.as_deref_mut() else {
            return match conn.stream_write(id, data, fin) {
                Ok(sent) => Ok(sent),
                Err(tquic::Error::Done) => Ok(0),
                Err(e) => Err(e.into()),
            };
        };
        loop {
            match http.send_body(conn, id, data.clone(), fin) {
                Ok(sent) => return Ok(sent),
                Err(Http3Error::Done | Http3Error::StreamBlocked) => return Ok(0),
                // A head that had waited has left; now the body may.
                Err(Http3Error::NoError) => {}
                Err(e) => return Err(e.into()),
            }
        }
    };
    let mut full = false;
    if !s.number.is_empty() {
        let sent = write(s.number.clone(), s.left == 0)?;
        s.number = s.number.split_off(sent);
        s.sending = s.number.is_empty() && s.left > 0;
        full = !s.number.is_empty();
    }
    while s.sending && !full {
        let n = s.left.min(block.len() as u64) as usize;
        let fin = n as u64 == s.left;
        let sent = write(block.slice(..n), fin)?;
        s.left -= sent as u64;
        s.sending = !(fin && sent == n);
        full = sent < n;
    }
    conn.stream_want_write(id, full)?;
    Ok(())
}
