-- Sums over any window are differences of two of these totals, so that the windows of
-- `churn_features` need no second pass over the days. The rows of a user have no gap in dates.
with

user_days as (

    select * from {{ ref('fct_user_days') }}

),

transitions as (

    select * from {{ ref('user_day_transitions') }}

),

calendar as (

    select last_event_date from {{ ref('churn_calendar') }}

),

user_spans as (

    select
        user_id,
        min(activity_date) as first_activity_date,
        max(activity_date) as last_activity_date
    from user_days
    group by user_id

),

snapshots as (

    -- 28 days after the last activity, a user leaves the population for good
    select
        user_spans.user_id,
        user_spans.first_activity_date,
        explode(
            sequence(
                date_add(user_spans.first_activity_date, 1),
                least(
                    date_add(user_spans.last_activity_date, 28),
                    date_add(calendar.last_event_date, 1)
                )
            )
        ) as snapshot_date
    from user_spans
    cross join calendar

),

totals as (

    -- the day before the snapshot is the last one that a total includes
    select
        snapshots.user_id,
        snapshots.snapshot_date,
        datediff(snapshots.snapshot_date, snapshots.first_activity_date)
            as days_since_first_event,
        min(user_days.registered_at) over past as registered_at,
        count(user_days.activity_date) over past as active_days_to_date,
        coalesce(sum(user_days.events) over past, 0) as events_to_date,
        coalesce(sum(user_days.paid_events) over past, 0) as paid_events_to_date,
        coalesce(sum(user_days.songs) over past, 0) as songs_to_date,
        coalesce(sum(user_days.listening_milliseconds) over past, 0)
            as listening_milliseconds_to_date,
        coalesce(sum(user_days.thumbs_up) over past, 0) as thumbs_up_to_date,
        coalesce(sum(user_days.thumbs_down) over past, 0) as thumbs_down_to_date,
        coalesce(sum(user_days.playlist_adds) over past, 0) as playlist_adds_to_date,
        coalesce(sum(user_days.friend_adds) over past, 0) as friend_adds_to_date,
        coalesce(sum(user_days.adverts) over past, 0) as adverts_to_date,
        coalesce(sum(user_days.errors) over past, 0) as errors_to_date,
        coalesce(sum(user_days.home_visits) over past, 0) as home_visits_to_date,
        coalesce(sum(user_days.help_visits) over past, 0) as help_visits_to_date,
        coalesce(sum(user_days.settings_visits) over past, 0) as settings_visits_to_date,
        coalesce(sum(user_days.logouts) over past, 0) as logouts_to_date,
        coalesce(sum(user_days.upgrade_visits) over past, 0) as upgrade_visits_to_date,
        coalesce(sum(user_days.downgrade_visits) over past, 0) as downgrade_visits_to_date,
        coalesce(sum(user_days.cancellations) over past, 0) as cancellations_to_date,
        coalesce(sum(transitions.session_starts) over past, 0) as session_starts_to_date,
        coalesce(sum(transitions.idle_seconds) over past, 0) as idle_seconds_to_date,
        coalesce(sum(transitions.events_after_song_paid) over past, 0)
            as events_after_song_paid_to_date,
        coalesce(sum(transitions.events_after_song_free) over past, 0)
            as events_after_song_free_to_date,
        coalesce(sum(transitions.session_ends_after_song_paid) over past, 0)
            as session_ends_after_song_paid_to_date,
        coalesce(sum(transitions.session_ends_after_song_free) over past, 0)
            as session_ends_after_song_free_to_date,
        coalesce(sum(transitions.session_ends_after_advert) over past, 0)
            as session_ends_after_advert_to_date,
        coalesce(sum(transitions.adverts_after_song_paid) over past, 0)
            as adverts_after_song_paid_to_date,
        coalesce(sum(transitions.adverts_after_song_free) over past, 0)
            as adverts_after_song_free_to_date,
        coalesce(sum(transitions.thumbs_up_after_song_paid) over past, 0)
            as thumbs_up_after_song_paid_to_date,
        coalesce(sum(transitions.thumbs_up_after_song_free) over past, 0)
            as thumbs_up_after_song_free_to_date,
        coalesce(sum(transitions.thumbs_down_after_song_paid) over past, 0)
            as thumbs_down_after_song_paid_to_date,
        coalesce(sum(transitions.thumbs_down_after_song_free) over past, 0)
            as thumbs_down_after_song_free_to_date,
        coalesce(sum(transitions.upgrade_visits_after_song_free) over past, 0)
            as upgrade_visits_after_song_free_to_date,
        coalesce(sum(transitions.downgrade_visits_after_song_paid) over past, 0)
            as downgrade_visits_after_song_paid_to_date,
        max(transitions.last_session_started_at) over past as last_session_started_at,
        max(user_days.last_event_at) over past as last_event_at,
        max(user_days.last_paid_event_at) over past as last_paid_event_at,
        max(user_days.last_free_event_at) over past as last_free_event_at,
        max(user_days.last_song_at) over past as last_song_at,
        max(user_days.last_advert_at) over past as last_advert_at,
        max(user_days.last_thumbs_up_at) over past as last_thumbs_up_at,
        max(user_days.last_thumbs_down_at) over past as last_thumbs_down_at,
        max(user_days.last_error_at) over past as last_error_at,
        max(user_days.last_home_at) over past as last_home_at,
        max(user_days.last_logout_at) over past as last_logout_at,
        max(user_days.last_upgrade_visit_at) over past as last_upgrade_visit_at,
        max(user_days.last_downgrade_visit_at) over past as last_downgrade_visit_at
    from snapshots
    left join user_days
        on
            snapshots.user_id = user_days.user_id
            and snapshots.snapshot_date = date_add(user_days.activity_date, 1)
    left join transitions
        on
            snapshots.user_id = transitions.user_id
            and snapshots.snapshot_date = date_add(transitions.activity_date, 1)
    window past as (
        partition by snapshots.user_id
        order by snapshots.snapshot_date
        rows between unbounded preceding and current row
    )

)

select * from totals
