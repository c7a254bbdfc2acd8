//! The little that the link knows of IP and UDP.

/// Where the UDP header of a packet begins.
pub fn udp_at(packet: &[u8]) -> Option<usize> {
    match packet.first()? >> 4 {
        4 if packet.get(9) == Some(&17) => Some(usize::from(packet[0] & 0x0f) * 4),
        6 if packet.get(6) == Some(&17) => Some(40),
        _ => None,
    }
    .filter(|at| packet.len() >= at + 8)
}

/// UDP travels, and ICMP that speaks about UDP; what systems say to their neighbours does not.
pub fn carried(packet: &[u8]) -> bool {
    udp_at(packet).is_some_and(|at| packet[at..at + 4] != [0; 4]) && !multicast(packet) || packet.get(9) == Some(&1)
}

fn multicast(packet: &[u8]) -> bool {
    match packet[0] >> 4 {
        4 => packet[16] >= 224,
        _ => packet[24] == 0xff,
    }
}

/// Flips a byte of the UDP payload, and repairs the checksum: the endpoint itself must notice.
pub fn corrupt(packet: &mut [u8], number: u64) {
    let Some(at) = udp_at(packet) else { return };
    let payload = packet.len() - at - 8;
    if payload == 0 {
        return;
    }
    let which = at + 8 + (number % payload as u64) as usize;
    let mask = (number >> 32) as u8;
    packet[which] ^= if mask == 0 { 0x80 } else { mask };
    checksum(packet);
}

/// Writes the UDP checksum (RFC 768, RFC 8200 section 8.1) and, for IPv4, the header's (RFC 791).
pub fn checksum(packet: &mut [u8]) {
    let Some(at) = udp_at(packet) else { return };
    let addresses = if packet[0] >> 4 == 4 { 12..20 } else { 8..40 };
    packet[at + 6] = 0;
    packet[at + 7] = 0;
    let length = (packet.len() - at) as u32;
    let sum = fold(sum(&packet[addresses]) + sum(&packet[at..]) + 17 + length);
    let sum = if sum == 0 { 0xffff } else { sum };
    packet[at + 6..at + 8].copy_from_slice(&sum.to_be_bytes());
    if packet[0] >> 4 == 4 {
        packet[10] = 0;
        packet[11] = 0;
        let header = fold(self::sum(&packet[..at]));
        packet[10..12].copy_from_slice(&header.to_be_bytes());
    }
}

fn sum(bytes: &[u8]) -> u32 {
    bytes.chunks(2).map(|c| u32::from(c[0]) << 8 | u32::from(*c.get(1).unwrap_or(&0))).sum()
}

fn fold(mut sum: u32) -> u16 {
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
