-- Features are sums and states over [first event, snapshot) or [snapshot - n days, snapshot),
-- each a difference of two running totals. Labels look at [snapshot, snapshot + 10 days) and stay
-- null until the last of those days is complete.
{{
    config(
        meta={'updated_by': 'snapshots'},
        partition_by=['snapshot_date'],
    )
}}

with

calendar as (

    select
        first_event_date,
        last_event_date,
        last_complete_date
    from {{ ref('churn_calendar') }}

),

days as (

    -- a join with the one row of the calendar would be one that Comet cannot do
    select
        *,
        (select last_event_date from calendar) as last_event_date
    from {{ ref('int_user_running_totals') }}

),

snapshots as (

    -- what is known of a user after a date is known until the next date with an event; each stretch
    -- has one row more at its start, for what was before it
    select
        days.*,
        explode(
            array_union(
                sequence(
                    date_add(days.activity_date, 1),
                    least(
                        date_add(days.activity_date, 28),
                        coalesce(days.next_activity_date, date '9999-12-31'),
                        date_add(days.last_event_date, 1)
                    )
                ),
                array_compact(
                    array(
                        days.next_activity_date,
                        case
                            when days.activity_date = days.first_activity_date
                                then days.activity_date
                        end
                    )
                )
            )
        ) as snapshot_date
    from days
    where
        {{ in_changed('days.activity_date', days_before=57) }}
        or {{ in_changed('days.next_activity_date', days_before=28) }}

),

totals as (

    select
        *,
        unix_seconds(cast(snapshot_date as timestamp)) as snapshot_seconds,
        case
            when datediff(snapshot_date, activity_date) <= 28 then stretch_started_on
            else snapshot_date
        end as stretch_date,
        case
            when snapshot_date > activity_date
                then struct(
                        active_days_to_date,
                        session_starts_to_date,
                        songs_to_date,
                        listening_milliseconds_to_date,
                        thumbs_up_to_date,
                        thumbs_down_to_date,
                        adverts_to_date,
                        errors_to_date,
                        playlist_adds_to_date,
                        friend_adds_to_date,
                        help_visits_to_date,
                        home_visits_to_date,
                        settings_visits_to_date,
                        logouts_to_date,
                        downgrade_visits_to_date,
                        upgrade_visits_to_date
                    )
        end as totals
    from snapshots
    where {{ in_changed('snapshot_date', days_before=28) }}

),

windows as (

    -- the first row of n days is n days back or, where the stretch is shorter, its start
    select
        *,
        first_value(totals) over (
            partition by user_id, stretch_date
            order by snapshot_date range between 7 preceding and current row
        ) as days_ago_7,
        first_value(totals) over (
            partition by user_id, stretch_date
            order by snapshot_date range between 28 preceding and current row
        ) as days_ago_28
    from totals

),

population as (

    select *
    from windows
    where
        cancellations_to_date = 0
        and datediff(snapshot_date, activity_date) between 1 and 28
        and {{ in_changed('snapshot_date') }}

),

features as (

    select
        user_id,
        snapshot_date,

        -- state
        is_paid,
        case
            when registered_at < cast(snapshot_date as timestamp)
                then datediff(snapshot_date, cast(registered_at as date))
        end as tenure_days,
        datediff(snapshot_date, first_activity_date) as days_since_first_event,
        case last_event_at
            when last_song_at then 'song'
            when last_advert_at then 'advert'
            when last_logout_at then 'logout'
            when last_home_at then 'home'
            when last_thumbs_up_at then 'thumbs_up'
            when last_thumbs_down_at then 'thumbs_down'
            when last_error_at then 'error'
            when last_upgrade_visit_at then 'upgrade_visit'
            when last_downgrade_visit_at then 'downgrade_visit'
            else 'other'
        end as last_event_category,

        -- recency
        (snapshot_seconds - unix_seconds(last_event_at)) / 3600 as hours_since_last_event,
        (snapshot_seconds - unix_seconds(last_session_started_at)) / 3600
            as hours_since_last_session_start,
        (snapshot_seconds - unix_seconds(last_song_at)) / 3600 as hours_since_last_song,
        (snapshot_seconds - unix_seconds(last_advert_at)) / 3600 as hours_since_last_advert,
        (snapshot_seconds - unix_seconds(last_thumbs_down_at)) / 3600
            as hours_since_last_thumbs_down,
        (snapshot_seconds - unix_seconds(last_error_at)) / 3600 as hours_since_last_error,
        (snapshot_seconds - unix_seconds(last_downgrade_visit_at)) / 3600
            as hours_since_last_downgrade_visit,
        (snapshot_seconds - unix_seconds(last_upgrade_visit_at)) / 3600
            as hours_since_last_upgrade_visit,

        -- trailing windows
        active_days_to_date - coalesce(days_ago_7.active_days_to_date, 0)
            as active_days_last_7_days,
        active_days_to_date - coalesce(days_ago_28.active_days_to_date, 0)
            as active_days_last_28_days,
        session_starts_to_date - coalesce(days_ago_7.session_starts_to_date, 0)
            as sessions_last_7_days,
        session_starts_to_date - coalesce(days_ago_28.session_starts_to_date, 0)
            as sessions_last_28_days,
        songs_to_date - coalesce(days_ago_7.songs_to_date, 0) as songs_last_7_days,
        songs_to_date - coalesce(days_ago_28.songs_to_date, 0) as songs_last_28_days,
        listening_milliseconds_to_date - coalesce(days_ago_7.listening_milliseconds_to_date, 0)
            as listening_milliseconds_last_7_days,
        listening_milliseconds_to_date - coalesce(days_ago_28.listening_milliseconds_to_date, 0)
            as listening_milliseconds_last_28_days,
        thumbs_up_to_date - coalesce(days_ago_7.thumbs_up_to_date, 0) as thumbs_up_last_7_days,
        thumbs_up_to_date - coalesce(days_ago_28.thumbs_up_to_date, 0) as thumbs_up_last_28_days,
        thumbs_down_to_date - coalesce(days_ago_7.thumbs_down_to_date, 0)
            as thumbs_down_last_7_days,
        thumbs_down_to_date - coalesce(days_ago_28.thumbs_down_to_date, 0)
            as thumbs_down_last_28_days,
        adverts_to_date - coalesce(days_ago_7.adverts_to_date, 0) as adverts_last_7_days,
        adverts_to_date - coalesce(days_ago_28.adverts_to_date, 0) as adverts_last_28_days,
        errors_to_date - coalesce(days_ago_7.errors_to_date, 0) as errors_last_7_days,
        errors_to_date - coalesce(days_ago_28.errors_to_date, 0) as errors_last_28_days,
        playlist_adds_to_date - coalesce(days_ago_28.playlist_adds_to_date, 0)
            as playlist_adds_last_28_days,
        friend_adds_to_date - coalesce(days_ago_28.friend_adds_to_date, 0)
            as friend_adds_last_28_days,
        help_visits_to_date - coalesce(days_ago_28.help_visits_to_date, 0)
            as help_visits_last_28_days,
        home_visits_to_date - coalesce(days_ago_28.home_visits_to_date, 0)
            as home_visits_last_28_days,
        settings_visits_to_date - coalesce(days_ago_28.settings_visits_to_date, 0)
            as settings_visits_last_28_days,
        logouts_to_date - coalesce(days_ago_28.logouts_to_date, 0) as logouts_last_28_days,
        downgrade_visits_to_date - coalesce(days_ago_28.downgrade_visits_to_date, 0)
            as downgrade_visits_last_28_days,
        upgrade_visits_to_date - coalesce(days_ago_28.upgrade_visits_to_date, 0)
            as upgrade_visits_last_28_days,

        -- whole past
        events_to_date,
        active_days_to_date,
        session_starts_to_date as sessions_to_date,
        songs_to_date,
        adverts_to_date,
        thumbs_up_to_date,
        thumbs_down_to_date,
        errors_to_date,
        friend_adds_to_date,
        playlist_adds_to_date,
        paid_events_to_date,
        events_to_date - paid_events_to_date as free_events_to_date,
        idle_seconds_to_date,
        events_after_song_paid_to_date,
        events_after_song_free_to_date,
        session_ends_after_song_paid_to_date,
        session_ends_after_song_free_to_date,
        session_ends_after_advert_to_date,
        adverts_after_song_paid_to_date,
        adverts_after_song_free_to_date,
        thumbs_up_after_song_paid_to_date,
        thumbs_up_after_song_free_to_date,
        thumbs_down_after_song_paid_to_date,
        thumbs_down_after_song_free_to_date,
        upgrade_visits_after_song_free_to_date,
        downgrade_visits_after_song_paid_to_date
    from population

),

labels as (

    -- a change labels the ten snapshots whose window holds it
    select
        user_id,
        snapshot_date,
        bool_or(change_type = 'cancellation') as is_churned,
        bool_or(change_type = 'downgrade') as is_downgraded
    from {{ ref('fct_subscription_changes') }}
        lateral view explode(sequence(date_sub(change_date, 9), change_date)) as snapshot_date
    group by user_id, snapshot_date

),

labelled as (

    select
        features.*,
        try_divide(thumbs_up_last_28_days, songs_last_28_days) as thumbs_up_per_song_last_28_days,
        try_divide(thumbs_down_last_28_days, songs_last_28_days)
            as thumbs_down_per_song_last_28_days,
        try_divide(adverts_last_28_days, songs_last_28_days) as adverts_per_song_last_28_days,
        try_divide(songs_last_28_days, sessions_last_28_days) as songs_per_session_last_28_days,
        -- a week against the mean week of the three before it
        try_divide(songs_last_7_days * 3, songs_last_28_days - songs_last_7_days)
            as songs_trend_7_over_21_days,
        try_divide(sessions_last_7_days * 3, sessions_last_28_days - sessions_last_7_days)
            as sessions_trend_7_over_21_days,
        try_divide(thumbs_up_to_date, songs_to_date) as thumbs_up_per_song_to_date,
        try_divide(thumbs_down_to_date, songs_to_date) as thumbs_down_per_song_to_date,
        try_divide(adverts_to_date, songs_to_date) as adverts_per_song_to_date,
        try_divide(
            session_ends_after_song_paid_to_date + session_ends_after_song_free_to_date,
            songs_to_date
        ) as session_ends_per_song_to_date,
        try_divide(session_ends_after_advert_to_date, adverts_to_date)
            as session_ends_per_advert_to_date,
        try_divide(upgrade_visits_after_song_free_to_date, events_after_song_free_to_date)
            as upgrade_visits_per_free_song_to_date,
        try_divide(downgrade_visits_after_song_paid_to_date, events_after_song_paid_to_date)
            as downgrade_visits_per_paid_song_to_date,
        try_divide(songs_to_date, sessions_to_date) as songs_per_session_to_date,
        try_divide(idle_seconds_to_date, (sessions_to_date - 1) * 3600)
            as idle_hours_per_session_to_date,
        case
            when date_add(features.snapshot_date, 9) <= (select last_complete_date from calendar)
                then coalesce(labels.is_churned, false)
        end as is_churned_next_10_days,
        case
            when date_add(features.snapshot_date, 9) <= (select last_complete_date from calendar)
                then coalesce(labels.is_downgraded, false)
        end as is_downgraded_next_10_days,
        date_sub(features.snapshot_date, 28) < (select first_event_date from calendar)
            as is_cut_by_log_start
    from features
    left join labels
        on
            features.user_id = labels.user_id
            and features.snapshot_date = labels.snapshot_date

)

select * from labelled
