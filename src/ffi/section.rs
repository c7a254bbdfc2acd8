//! A received field section as the application sees it (`wb_h3_fields`, H3_MESSAGE).
//!
//! Invariant: what it has shown stays where it is until the stream's handle goes stale.
use super::abi::wb_field;
use super::hardened::{self, Shown};
use crate::http3::{Field, FieldList};

/// Received fields; the list has a zero behind each name and each value.
pub(crate) struct Block {
    fields: FieldList,
    /// Hardened mode: what the application gets to see instead of the list's own text.
    shown: Option<Box<Shown>>,
}

impl Block {
    pub fn new(fields: FieldList) -> Self {
        let shown = hardened::is_on().then(|| Box::new(Shown::new(fields.text().into())));
        Self { fields, shown }
    }

    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Names and values with the zeros behind them.
    pub fn text(&self) -> &[u8] {
        self.fields.text()
    }

    /// A field as C sees it; the pointers live as long as this block.
    fn for_c(&self, field: Field<'_>) -> wb_field {
        let place = |text: &[u8]| match &self.shown {
            None => text.as_ptr().cast(),
            // The same place in the copy.
            Some(shown) => {
                let at = (text.as_ptr() as usize).wrapping_sub(self.fields.text().as_ptr() as usize);
                shown.as_ptr().wrapping_add(at).cast()
            }
        };
        wb_field {
            name: place(field.name),
            name_len: field.name.len(),
            value: place(field.value),
            value_len: field.value.len(),
        }
    }

    /// The fields as C sees them; the pointers live as long as this block.
    pub fn fields(&self) -> impl Iterator<Item = wb_field> + '_ {
        self.fields.iter().map(|field| self.for_c(field))
    }

    /// The first field of a name.
    pub fn find(&self, name: &[u8]) -> Option<wb_field> {
        self.fields.iter().find(|f| f.name == name).map(|field| self.for_c(field))
    }

    /// Number in the ":status" field, 0 without one.
    pub fn status(&self) -> u64 {
        let text = self.fields.value(b":status").and_then(|text| core::str::from_utf8(text).ok());
        text.and_then(|t| t.parse().ok()).unwrap_or(0)
    }

    /// The application may not look at it any more.
    pub fn expire(&self) {
        if let Some(shown) = &self.shown {
            shown.expire();
        }
    }
}
