//! Runs the models. One test each, so that they run side by side.
use whimbrel_loom::{chunk_models, handle_models};

macro_rules! models {
    ($($room:ident: $($name:ident)+;)+) => {
        $($(
            #[test]
            fn $name() {
                $room::$name();
            }
        )+)+
    };
}

models! {
    handle_models: look_up_against_release release_against_release retain_against_release
        a_stale_handle_never_reaches_a_new_object insert_against_insert a_handle_brings_its_object_along kinds_are_told_apart;
    chunk_models: nobody_reads_after_revoke revoke_against_revoke a_kept_copy_is_whole copy_against_no_copy
        released_once_after_the_last_reference no_release_inside_a_scope a_slab_waits_for_its_readers;
}
