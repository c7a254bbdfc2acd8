//! The sockets of an endpoint's part, as every thread may look them up.
//!
//! An endpoint has few sockets of its own and, on a client with connected sockets, one more for every connection. With
//! 10,000 connections each look over all of them, one per connection begun and one per connection gone, was a third of a
//! client's handshake: so those of connections are found by number and by owner, and the others by looking.
//! Invariant: `owned` has one entry for each of `private`.
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::os::fd::RawFd;

/// A socket as the directory knows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct SocketEntry {
    pub number: u32,
    /// Its descriptor, open as long as the entry stands here.
    pub fd: RawFd,
    /// What the socket is bound to.
    pub bound: SocketAddr,
    /// What connections are told; differs after a silent rebinding.
    pub told: SocketAddr,
    /// The connection that it was opened for, and that connection's peer.
    pub owner: Option<(u64, SocketAddr)>,
}

/// See the file comment.
#[derive(Default)]
pub(super) struct Directory {
    /// The endpoint's own.
    shared: Vec<SocketEntry>,
    /// Those of single connections, by number, which is the order of their opening.
    private: BTreeMap<u32, SocketEntry>,
    /// The same, by connection.
    owned: BTreeSet<(u64, u32)>,
}

impl Directory {
    pub fn add(&mut self, entry: SocketEntry) {
        match entry.owner {
            None => self.shared.push(entry),
            Some((conn, _)) => {
                self.private.insert(entry.number, entry);
                self.owned.insert((conn, entry.number));
            }
        }
    }

    pub fn get(&self, number: u32) -> Option<&SocketEntry> {
        self.shared.iter().find(|s| s.number == number).or_else(|| self.private.get(&number))
    }

    pub fn get_mut(&mut self, number: u32) -> Option<&mut SocketEntry> {
        match self.shared.iter_mut().find(|s| s.number == number) {
            Some(entry) => Some(entry),
            None => self.private.get_mut(&number),
        }
    }

    pub fn remove(&mut self, number: u32) {
        if let Some(entry) = self.private.remove(&number) {
            if let Some((conn, _)) = entry.owner {
                self.owned.remove(&(conn, number));
            }
        } else {
            self.shared.retain(|s| s.number != number);
        }
    }

    /// Numbers of a connection's sockets, in the order of their opening.
    pub fn of(&self, conn: u64) -> Vec<u32> {
        self.owned.range((conn, 0)..=(conn, u32::MAX)).map(|(_, number)| *number).collect()
    }

    /// The endpoint's own sockets.
    pub fn shared(&self) -> impl Iterator<Item = &SocketEntry> {
        self.shared.iter()
    }

    /// All sockets, the endpoint's own first.
    pub fn iter(&self) -> impl Iterator<Item = &SocketEntry> {
        self.shared.iter().chain(self.private.values())
    }

    pub fn len(&self) -> usize {
        self.shared.len().saturating_add(self.private.len())
    }

    pub fn is_empty(&self) -> bool {
        self.shared.is_empty() && self.private.is_empty()
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn entry(number: u32, owner: Option<u64>) -> SocketEntry {
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 1000));
        SocketEntry { number, fd: -1, bound: addr, told: addr, owner: owner.map(|conn| (conn, addr)) }
    }

    #[test]
    fn a_socket_is_found_by_number_and_by_its_connection() {
        let mut d = Directory::default();
        assert!(d.is_empty());
        for (number, owner) in [(4, Some(7)), (1, None), (3, Some(8)), (9, Some(7)), (2, None)] {
            d.add(entry(number, owner));
        }
        assert_eq!(d.len(), 5);
        assert_eq!(d.of(7), [4, 9]);
        assert_eq!(d.of(8), [3]);
        assert_eq!(d.of(9), []);
        assert_eq!(d.shared().map(|s| s.number).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(d.iter().map(|s| s.number).collect::<Vec<_>>(), [1, 2, 3, 4, 9]);
        for number in [1, 2, 3, 4, 9] {
            assert_eq!(d.get(number).map(|s| s.number), Some(number));
            assert_eq!(d.get_mut(number).map(|s| s.number), Some(number));
        }
        assert!(d.get(5).is_none());
    }

    #[test]
    fn a_socket_that_left_is_found_no_more() {
        let mut d = Directory::default();
        d.add(entry(1, None));
        d.add(entry(2, Some(7)));
        d.add(entry(3, Some(7)));
        d.remove(2);
        d.remove(2);
        assert_eq!(d.of(7), [3]);
        assert!(d.get(2).is_none());
        d.remove(1);
        assert_eq!(d.shared().count(), 0);
        d.remove(3);
        assert!(d.is_empty());
        assert_eq!(d.of(7), []);
    }
}
