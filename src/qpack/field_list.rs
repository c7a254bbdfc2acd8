//! Field lines of one section: what the decoder writes and the application reads.
//!
//! One buffer holds all names and values, one index holds offsets, so a section costs two allocations at
//! most and none when the list is used again. Limits are checked while lines are added (RFC 9114 section
//! 4.2.2), never after the fact. Each name and each value has a zero behind it, so that C can look at the list
//! as it is. Invariant: every line lies inside `bytes`.
use core::fmt;

/// One field line: a view for reading, and the unit in which an application hands fields over.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// Lower-case name; pseudo-header fields start with a colon.
    pub name: &'a [u8],
    /// Value, any bytes that RFC 9110 section 5.5 allows.
    pub value: &'a [u8],
    /// The `N` bit of RFC 9204 section 4.5.4: must never enter a compression table, here or further on.
    pub sensitive: bool,
}

impl<'a> Field<'a> {
    /// A field line that may be compressed.
    #[must_use]
    pub const fn new(name: &'a [u8], value: &'a [u8]) -> Self {
        Self { name, value, sensitive: false }
    }

    /// A field line whose value must stay out of compression tables (RFC 9204 section 7.1.3).
    #[must_use]
    pub const fn sensitive(name: &'a [u8], value: &'a [u8]) -> Self {
        Self { name, value, sensitive: true }
    }
}

impl fmt::Debug for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = if self.sensitive { b"(sensitive)".as_slice() } else { self.value };
        write!(f, "{}: {}", self.name.escape_ascii(), value.escape_ascii())
    }
}

/// What a line costs beyond its bytes when a section is measured (RFC 9114 section 4.2.2).
pub const LINE_OVERHEAD: usize = 32;

#[derive(Clone, Copy)]
struct Line {
    at: u32,
    name: u32,
    value: u32,
    sensitive: bool,
}

/// Zeros behind the texts of a line; they do not count as size.
const TERMINATORS: usize = 2;

/// A section grew past its limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SectionTooLarge;

/// The field lines of one section, in order.
#[derive(Clone, Default)]
pub struct FieldList {
    bytes: Vec<u8>,
    lines: Vec<Line>,
}

impl FieldList {
    /// An empty list; allocates nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: Vec::new(), lines: Vec::new() }
    }

    /// An empty list with room for so many bytes of text and lines.
    #[must_use]
    pub fn with_capacity(text: usize, lines: usize) -> Self {
        let bytes = text.saturating_add(lines.saturating_mul(TERMINATORS));
        Self { bytes: Vec::with_capacity(bytes), lines: Vec::with_capacity(lines) }
    }

    /// Number of lines.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// No lines at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Size as RFC 9114 section 4.2.2 counts it: names, values and 32 for each line.
    #[must_use]
    pub fn section_size(&self) -> usize {
        self.bytes.len().saturating_add(self.lines.len().saturating_mul(LINE_OVERHEAD - TERMINATORS))
    }

    /// Bytes of all names and values.
    #[must_use]
    pub fn text_len(&self) -> usize {
        self.bytes.len().saturating_sub(self.lines.len().saturating_mul(TERMINATORS))
    }

    /// The `n`-th line.
    #[must_use]
    pub fn get(&self, n: usize) -> Option<Field<'_>> {
        self.lines.get(n).map(|l| self.view(l))
    }

    /// All lines in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Field<'_>> {
        self.lines.iter().map(|l| self.view(l))
    }

    /// Value of the first line with this name.
    #[must_use]
    pub fn value(&self, name: &[u8]) -> Option<&[u8]> {
        self.iter().find(|f| f.name == name).map(|f| f.value)
    }

    /// Forgets the lines, keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.lines.clear();
    }

    /// All names and values as they lie in memory, with the zeros behind them: what lines are views of.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes of memory held.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.bytes.capacity().saturating_add(self.lines.capacity().saturating_mul(size_of::<Line>()))
    }

    fn view(&self, l: &Line) -> Field<'_> {
        let (at, name, value) = (l.at as usize, l.name as usize, l.value as usize);
        let line = self.bytes.get(at..).unwrap_or(&[]);
        let (name, rest) = line.split_at_checked(name).unwrap_or((&[], &[]));
        let value = rest.get(1..).and_then(|r| r.get(..value)).unwrap_or(&[]);
        Field { name, value, sensitive: l.sensitive }
    }

    /// Adds a line whose name and value are at hand, within `limit` bytes of section size.
    pub fn push(&mut self, f: Field<'_>, limit: usize) -> Result<(), SectionTooLarge> {
        let added = f.name.len().saturating_add(f.value.len()).saturating_add(LINE_OVERHEAD);
        if self.section_size().saturating_add(added) > limit {
            return Err(SectionTooLarge);
        }
        let at = self.bytes.len();
        self.bytes.extend_from_slice(f.name);
        self.bytes.push(0);
        self.bytes.extend_from_slice(f.value);
        self.close_line(at, f.name.len(), f.sensitive)
    }

    /// For the decoder: bytes of a line under construction go straight to the buffer.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Ends the name that began at `at`; gives its length.
    pub(super) fn close_name(&mut self, at: usize) -> usize {
        let len = self.bytes.len().saturating_sub(at);
        self.bytes.push(0);
        len
    }

    /// Ends the line that began at `at`; the value is whatever follows the closed name.
    pub(super) fn close_line(&mut self, at: usize, name: usize, sensitive: bool) -> Result<(), SectionTooLarge> {
        let value = self.bytes.len().saturating_sub(at).saturating_sub(name).saturating_sub(1);
        self.bytes.push(0);
        let line = (u32::try_from(at), u32::try_from(name), u32::try_from(value));
        let (Ok(at), Ok(name), Ok(value)) = line else {
            return Err(SectionTooLarge);
        };
        self.lines.push(Line { at, name, value, sensitive });
        Ok(())
    }
}

impl fmt::Debug for FieldList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl PartialEq for FieldList {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl<'a> FromIterator<Field<'a>> for FieldList {
    fn from_iter<I: IntoIterator<Item = Field<'a>>>(fields: I) -> Self {
        let mut list = Self::new();
        for f in fields {
            // Without a limit only the 4 GiB bound of the offsets remains; a line beyond it is dropped.
            let _ = list.push(f, usize::MAX);
        }
        list
    }
}
