//! A NAT for IPv4: gives the client's flows other ports (and addresses), and forgets them when it rebinds.
use crate::packet;

/// Port and last byte of the address outside, for a flow known by the client's port inside.
struct Binding {
    inside_port: u16,
    inside_address: u8,
    outside_port: u16,
    outside_address: u8,
}

/// One client address behind the NAT; the bindings in force.
pub struct Nat {
    bindings: Vec<Binding>,
    generation: u16,
    address: u8,
}

/// Last byte of the address that follows the client's own at the first change of address.
const FIRST_OTHER: u8 = 100;

impl Nat {
    pub fn new() -> Self {
        Self { bindings: Vec::new(), generation: 0, address: 0 }
    }

    /// Forgets every binding: the next packet of each flow gets a new port, and perhaps a new address.
    pub fn rebind(&mut self, address: bool) {
        self.bindings.clear();
        self.generation += 1;
        if address {
            self.address = if self.address == 0 { FIRST_OTHER } else { self.address + 1 };
        }
    }

    /// Client to server.
    pub fn outward(&mut self, packet: &mut [u8]) {
        let Some(at) = packet::udp_at(packet).filter(|_| packet[0] >> 4 == 4) else { return };
        let port = u16::from_be_bytes([packet[at], packet[at + 1]]);
        let address = packet[15];
        if !self.bindings.iter().any(|b| b.inside_port == port) {
            let fresh = Binding {
                inside_port: port,
                inside_address: address,
                outside_port: 20_000 + self.generation * 16 + self.bindings.len() as u16,
                outside_address: if self.address == 0 { address } else { self.address },
            };
            self.bindings.push(fresh);
        }
        if let Some(b) = self.bindings.iter().find(|b| b.inside_port == port) {
            packet[at..at + 2].copy_from_slice(&b.outside_port.to_be_bytes());
            packet[15] = b.outside_address;
            packet::checksum(packet);
        }
    }

    /// Server to client; `false` when nobody is there any more.
    pub fn inward(&self, packet: &mut [u8]) -> bool {
        let Some(at) = packet::udp_at(packet).filter(|_| packet[0] >> 4 == 4) else { return true };
        let port = u16::from_be_bytes([packet[at + 2], packet[at + 3]]);
        let Some(b) = self.bindings.iter().find(|b| b.outside_port == port && b.outside_address == packet[19]) else {
            return false;
        };
        packet[at + 2..at + 4].copy_from_slice(&b.inside_port.to_be_bytes());
        packet[19] = b.inside_address;
        packet::checksum(packet);
        true
    }
}
