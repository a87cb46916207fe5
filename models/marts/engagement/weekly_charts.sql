-- Users of a week are no sum of those of its dates, so a new line reopens its whole week. That
-- reads up to seven dates of events, and spares a second wide table of nearly every play.
{{ config(meta={'updated_by': 'weeks'}, partition_by=['week_start_date']) }}

with

events as (

    -- what one does with a song while it plays cuts it no shorter
    select
        user_id,
        trunc(event_date, 'week') as week_start_date,
        event_at,
        session_id,
        item_in_session,
        content_hash,
        artist,
        song,
        song_milliseconds,
        xxhash64(artist) as artist_hash,
        xxhash64(artist, song) as song_hash,
        page_category = 'song' and artist is not null and song is not null as is_play
    from {{ ref('stg_events') }}
    where
        user_id is not null
        and page_category not in ('thumbs_up', 'thumbs_down', 'playlist_add', 'friend_add')
        and {{ in_changed('event_date') }}

),

songs as (

    select
        week_start_date,
        artist,
        song,
        count(*) as plays
    from events
    where is_play
    group by week_start_date, artist, song

),

songs_and_artists as (

    select
        week_start_date,
        if(grouping(song) = 0, 'song', 'artist') as kind,
        artist,
        song,
        sum(plays) as plays
    from songs
    group by grouping sets ((week_start_date, artist, song), (week_start_date, artist))

),

names_by_plays as (

    -- counted, as all names are too many to be sorted
    select
        week_start_date,
        kind,
        plays,
        sum(count(*)) over (partition by week_start_date, kind order by plays desc) - count(*)
            as names_with_more_plays
    from songs_and_artists
    group by week_start_date, kind, plays

),

candidates as (

    -- with all that share the last rank: users say which of them is in the chart
    select /*+ broadcast(names_by_plays) */
        *,
        xxhash64(artist, song) as name_hash
    from songs_and_artists
    inner join names_by_plays using (week_start_date, kind, plays)
    where names_with_more_plays < 100

),

followed_events as (

    -- all events are sorted here: what follows reads no names, which are most of their bytes; a
    -- count of all rows, in the order of the rest, has Comet take all of them at once
    select
        *,
        row_number() over user_events < count(*) over all_user_events
        and session_id = lead(session_id) over user_events as is_followed,
        unix_millis(lead(event_at) over user_events) - unix_millis(event_at)
            as milliseconds_to_next
    from events
    window
        user_events as (
            partition by user_id, week_start_date
            order by event_at, session_id, item_in_session, content_hash
        ),
        all_user_events as (
            partition by user_id, week_start_date
            order by event_at, session_id, item_in_session, content_hash
            rows between unbounded preceding and unbounded following
        )

),

plays as (

    -- many logs have whole seconds: within the last one, nobody can tell
    select
        *,
        is_followed and milliseconds_to_next < song_milliseconds - 1000 as is_cut_short,
        if(kind = 'song', song_hash, artist_hash) as name_hash
    from followed_events lateral view explode(array('song', 'artist')) as kind
    where is_play

),

ranked as (

    select /*+ broadcast(candidates) */
        week_start_date,
        kind,
        candidates.artist,
        candidates.song,
        count(*) as plays,
        count(distinct user_id) as users,
        count_if(is_followed) as followed_plays,
        count_if(is_cut_short) as cut_short_plays,
        row_number() over (
            partition by week_start_date, kind
            order by count(*) desc, count(distinct user_id) desc, candidates.artist, candidates.song
        ) as chart_rank
    from plays
    inner join candidates using (week_start_date, kind, name_hash)
    group by week_start_date, kind, candidates.artist, candidates.song

),

charts as (

    select
        *,
        try_divide(cut_short_plays, followed_plays) as cut_short_share
    from ranked
    where chart_rank <= 100

)

select * from charts
