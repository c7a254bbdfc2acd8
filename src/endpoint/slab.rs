//! Dense storage whose keys tell a reused place from the one they were given for.

/// One place: `value` is `None` while the place is free.
struct Place<T> {
    generation: u32,
    value: Option<T>,
}

/// Values under `(index, generation)`; indexes stay dense because freed places are used again.
pub(super) struct Slab<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    pub(super) const fn new() -> Self {
        Self { places: Vec::new(), free: Vec::new() }
    }

    /// Values stored.
    pub(super) fn len(&self) -> usize {
        self.places.len().saturating_sub(self.free.len())
    }

    /// `None` when 2^32 places are taken.
    pub(super) fn insert(&mut self, value: T) -> Option<(u32, u32)> {
        if let Some(index) = self.free.pop() {
            let place = self.places.get_mut(index as usize)?;
            place.value = Some(value);
            return Some((index, place.generation));
        }
        let index = u32::try_from(self.places.len()).ok()?;
        self.places.push(Place { generation: 0, value: Some(value) });
        Some((index, 0))
    }

    pub(super) fn get_mut(&mut self, (index, generation): (u32, u32)) -> Option<&mut T> {
        self.places.get_mut(index as usize).filter(|p| p.generation == generation)?.value.as_mut()
    }

    pub(super) fn get(&self, (index, generation): (u32, u32)) -> Option<&T> {
        self.places.get(index as usize).filter(|p| p.generation == generation)?.value.as_ref()
    }

    pub(super) fn remove(&mut self, (index, generation): (u32, u32)) -> Option<T> {
        let place = self.places.get_mut(index as usize).filter(|p| p.generation == generation)?;
        let value = place.value.take()?;
        place.generation = place.generation.wrapping_add(1);
        self.free.push(index);
        Some(value)
    }
}
